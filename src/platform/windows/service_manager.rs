//! Windows' service control manager. A process that it has not started is no service, and these functions do nothing.

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::pending;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use crate::error::{Error, Result};
use crate::platform::SERVICE;
use crate::platform::signal::ServiceSignal;

/// How long Windows waits for a start or a stop before it reports an error to the user.
const WAIT_HINT: Duration = Duration::from_secs(60);

type Serve = Box<dyn FnOnce() -> Result<ExitCode> + Send>;

static SERVE: Mutex<Option<Serve>> = Mutex::new(None);
static SERVED: Mutex<Option<Result<ExitCode>>> = Mutex::new(None);
static HANDLE: OnceLock<ServiceStatusHandle> = OnceLock::new();
static STOP: Notify = Notify::const_new();
static RELOAD: Notify = Notify::const_new();

fn take<T>(from: &Mutex<Option<T>>) -> Option<T> {
    from.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Calls `serve`, as a service if the service control manager has started this process.
///
/// # Errors
/// Returns the error of `serve`.
pub(crate) fn run(serve: impl FnOnce() -> Result<ExitCode> + Send + 'static) -> Result<ExitCode> {
    *SERVE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(serve));
    // It fails where this process is no service. Windows does not compare the name: the process has one service.
    let dispatched = service_dispatcher::start(SERVICE, service_main);
    match (take(&SERVED), take(&SERVE)) {
        (Some(served), _) => served,
        (None, Some(serve)) => serve(),
        (None, None) => Err(Error::Bug(format!("the service has not ended: {dispatched:?}"))),
    }
}

define_windows_service!(service_main, serve_as_service);

fn serve_as_service(_: Vec<OsString>) {
    let Some(serve) = take(&SERVE) else { return };
    // Without a handle, Windows sees no state and ends the service after a while.
    if let Ok(handle) = service_control_handler::register(SERVICE, on_control) {
        HANDLE.get_or_init(|| handle);
    }
    report(ServiceState::StartPending, 0);
    let served = serve();
    let status = served.as_ref().map_or_else(|error| error.exit().code(), |_| 0);
    *SERVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(served);
    report(ServiceState::Stopped, status);
}

fn on_control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown => STOP.notify_one(),
        ServiceControl::ParamChange => RELOAD.notify_one(),
        ServiceControl::Interrogate => {}
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

fn report(state: ServiceState, status: u8) {
    let Some(handle) = HANDLE.get() else { return };
    let is_pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
    let takes =
        ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN | ServiceControlAccept::PARAM_CHANGE;
    let reported = handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if state == ServiceState::Running { takes } else { ServiceControlAccept::empty() },
        exit_code: match status {
            0 => ServiceExitCode::NO_ERROR,
            status => ServiceExitCode::ServiceSpecific(status.into()),
        },
        checkpoint: u32::from(is_pending),
        wait_hint: if is_pending { WAIT_HINT } else { Duration::ZERO },
        process_id: None,
    });
    if let Err(error) = reported {
        log::debug!("cannot notify the service manager: {error}");
    }
}

/// Resolves when the service control manager asks for something. Cancel-safe.
pub(crate) async fn next_signal() -> ServiceSignal {
    tokio::select! {
        () = STOP.notified() => ServiceSignal::Stop,
        () = RELOAD.notified() => ServiceSignal::Reload,
    }
}

/// The agent has started: it is in service, or keeps trying to be.
pub(crate) fn ready() {
    report(ServiceState::Running, 0);
}

/// Reports what the agent is doing: Windows has no place for it.
pub(crate) fn status(_: &str) {}

/// Reports a problem: Windows has no place for it.
pub(crate) fn trouble(_: Option<String>) {}

/// The agent reads its configuration again: Windows has no state for it.
pub(crate) fn reloading() {}

/// The agent is stopping.
pub(crate) fn stopping() {
    report(ServiceState::StopPending, 0);
}

/// The agent has left the hub, which no signal asks for on Windows.
pub(crate) fn left() {}

/// Never resolves: Windows has no watchdog.
pub(crate) async fn watchdog() -> Infallible {
    pending().await
}
