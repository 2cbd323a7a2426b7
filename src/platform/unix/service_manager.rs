//! Notifications to systemd (`sd_notify`). Without a service manager that reads them they do nothing.

use std::convert::Infallible;
use std::future::pending;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use sd_notify::NotifyState;
use tokio::time::interval;

use super::restart;
use crate::error::{Result, escape};

/// Another process may be the service's by now.
static HAS_LEFT: AtomicBool = AtomicBool::new(false);

/// Calls `serve`. A service is a process like any other.
///
/// # Errors
/// Returns the error of `serve`.
pub(crate) fn run(serve: impl FnOnce() -> Result<ExitCode> + Send + 'static) -> Result<ExitCode> {
    serve()
}

/// The agent has started: it is in service, or keeps trying to be.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The status: what the agent is doing, and a problem besides.
static STATUS: Mutex<(String, Option<String>)> = Mutex::new((String::new(), None));

/// Reports what the agent is doing.
pub(crate) fn status(text: &str) {
    show(|status| text.clone_into(&mut status.0));
}

/// Reports a problem that does not change what the agent is doing; `None` once it is over.
pub(crate) fn trouble(what: Option<String>) {
    show(|status| status.1 = what);
}

fn show(change: impl FnOnce(&mut (String, Option<String>))) {
    let mut status = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut status);
    let (text, trouble) = &*status;
    let all: Vec<&str> = [Some(text.as_str()), trouble.as_deref()].into_iter().flatten().collect();
    notify(&[NotifyState::Status(&escape(&all.join("; ")))]);
}

/// The agent reads its configuration again.
pub(crate) fn reloading() {
    // Units of Type=notify-reload need the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The agent is stopping.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The agent has left the hub, and serves its streams to their end: its successor may start, and speaks for the service.
pub(crate) fn left() {
    HAS_LEFT.store(true, Relaxed);
    restart::has_left();
}

/// Reports, while it is polled, that the process is alive: twice as often as systemd requires.
pub(crate) async fn watchdog() -> Infallible {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return pending().await;
    };
    let mut ticks = interval(limit / 2);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if HAS_LEFT.load(Relaxed) {
        return;
    }
    let message: Vec<_> = states.iter().map(ToString::to_string).collect();
    if restart::tell(&message.join("\n")) {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("cannot notify the service manager: {error}");
    }
}
