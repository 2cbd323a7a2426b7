//! The caller's side: plans the request, opens the stream, and bridges it to stdin and stdout.

mod bridge;
mod caller;
mod departure;
mod failure;
mod open;
mod options;
mod plan;

use std::process::ExitCode;
use std::time::Instant;

pub use self::caller::Caller;
pub use self::failure::refuse;
pub use self::open::{open, unless_offered};
pub use self::options::{Az, Options, ProfileOptions};
pub(crate) use self::plan::Asked;
pub use self::plan::{CONNECT_TIMEOUT, Plan, RESPONSE_TIMEOUT};

use self::bridge::{Stream, stats};
use self::failure::SSH;
use crate::error::{Error, Exit, Result};
use crate::logging;
use crate::platform::process;
use crate::time::phase::Phases;
use crate::tunnel::Meter;

/// Runs the ProxyCommand for `caller` and reports a failure in band to ssh, on stderr and in the state directory. `plan` runs
/// in a separate thread, because it may wait for a secret store and its user.
pub async fn run(
    options: &Options,
    plan: impl FnOnce() -> Result<Plan> + Send + 'static,
    mut caller: Caller,
) -> ExitCode {
    let mut phases = Phases::default();
    let meter = Meter::default();
    let since = Instant::now();
    let host = &*options.host;
    let mut name = options.stream_asked();
    let mut device = None;
    let opening = async {
        let plan =
            tokio::task::spawn_blocking(plan).await.map_err(|error| Error::Bug(error.to_string()))??;
        plan.dialer.stream().clone_into(&mut name);
        let opened = open(&plan, process::started(), &mut phases).await;
        device = Some(plan.dialer.device());
        Ok((plan, opened?))
    };
    let opened = tokio::select! {
        opened = opening => opened,
        exit = caller.gone() => return exit.into(),
    };
    let ended: Result<Option<Exit>> = match opened {
        Ok((plan, joined)) => {
            log::info!("the stream is up after {:.1} ms", since.elapsed().as_secs_f64() * 1e3);
            let Plan { keepalive, half_close, .. } = plan;
            let device = device.as_deref();
            let stream =
                Stream { host, device, name: &name, keepalive, half_close, meter: &meter, phases: &phases };
            let released = caller.release_stderr_in_time();
            let ended = tokio::select! {
                ended = stream.bridge(joined, &mut caller) => ended,
                never = released, if !options.stats => match never {},
            };
            if options.stats {
                logging::notice(&stats(since, &meter, &phases));
            }
            ended
        }
        Err(error) => Err(error),
    };
    let error = match ended {
        Ok(exit) => {
            caller.close().await;
            return exit.map_or(ExitCode::SUCCESS, Into::into);
        }
        Err(error) => error,
    };
    // After the first byte, stdout belongs to the session.
    let in_band = meter.received() == 0
        && if meter.sent() == 0 { caller.is_ssh(name == SSH).await } else { caller.has_said_ssh() };
    failure::tell(Some(host), device.as_deref(), &error, &phases, &mut caller, in_band).await
}

#[cfg(test)]
mod tests;
