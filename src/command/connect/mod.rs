//! The ProxyCommand: bridges stdin and stdout onto a stream to a device.

mod caller;
mod plan;

use std::io::{Cursor, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use self::caller::Caller;
pub(super) use self::plan::Plan;
pub(super) use self::plan::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use super::signals::HelperSignals;
use crate::error::{Error, Exit, Result};
use crate::net::{Stream, WebSocket};
use crate::phase::Phases;
use crate::service::Patience;
use crate::tunnel::{self, End, Meter, Settings};
use crate::{cli, duration, failure_record, gateway_cache, logging, measure, process, service};

/// How long the first answer may take before a wait is worth a line on a terminal.
const WAIT_NOTICE: Duration = Duration::from_secs(3);

pub(super) const KEEPALIVE: Duration = Duration::from_secs(30);

pub(super) fn run(args: &cli::Connect) -> Result<ExitCode> {
    let runtime = super::runtime()?;
    let code = runtime.block_on(connect(args));
    // A terminal is read by a thread that cannot be called back.
    runtime.shutdown_background();
    code
}

async fn connect(args: &cli::Connect) -> Result<ExitCode> {
    // First of all: ssh hangs up on a helper as soon as it has read its last words.
    let mut signals = HelperSignals::listen()?;
    let mut caller = Caller::take()?;
    let mut phases = Phases::default();
    let meter = Meter::default();
    let since = Instant::now();
    let opened = tokio::select! {
        opened = open_planned(args, &mut phases) => opened,
        () = signals.hangup() => return Ok(ExitCode::from(Exit::Temporary as u8)),
        () = caller.gone() => return Ok(ExitCode::from(Exit::LocalIo as u8)),
    };
    let (ended, in_band) = match opened {
        Ok(websocket) => {
            log::info!("the stream is up after {:.1} ms", since.elapsed().as_secs_f64() * 1e3);
            if !args.stats {
                logging::release_stderr();
            }
            let ended = bridge(args, websocket, &mut caller, &mut signals, &meter, &phases).await;
            if args.stats {
                logging::notice(&stats(since, &meter, &phases));
            }
            (ended, caller.is_ssh() && meter.received() == 0)
        }
        Err(error) => (Err(error), caller.may_be_ssh().await),
    };
    let error = match ended {
        Ok(exit) => return Ok(exit.map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8))),
        Err(error) => error,
    };
    failure_record::keep(args.host.as_deref().unwrap_or_default(), &error, &phases);
    if in_band {
        caller.tell(&error).await;
    }
    // Before stdout closes, for ssh ends a helper that has closed it.
    logging::report(&error);
    if in_band {
        caller.hear_out().await;
    }
    Ok(ExitCode::from(error.exit() as u8))
}

/// Decides by `plan`, which may ask a secret store, and opens the stream.
async fn open_planned(args: &cli::Connect, phases: &mut Phases) -> Result<WebSocket<Stream>> {
    let options = args.clone();
    let plan = Arc::new(apart(move || Plan::new(&options)).await?);
    open(&plan, process::started(), phases).await
}

/// Opens the stream for a user who has waited since `started`; tries again while the device is offline or the hub
/// throttles, for as long as the plan and ssh have patience.
pub(super) async fn open(
    plan: &Arc<Plan>,
    started: Instant,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    let request = async || {
        let plan = Arc::clone(plan);
        apart(move || plan.request()).await
    };
    let mut noticed = false;
    let patience = Patience::new(started, plan.wait);
    let notice = |error: &Error| {
        log::info!("{error}; waiting");
        if !noticed && started.elapsed() >= WAIT_NOTICE && std::io::stderr().is_terminal() {
            noticed = true;
            let whole = duration::show(patience.whole(error));
            logging::notice(&format!("{error}; waiting for up to {whole}"));
        }
    };
    let (_, hub) = plan.ends();
    let last = gateway_cache::known(hub);
    let (network, rate, guess) = (&plan.network, plan.rate.as_ref(), last.as_ref());
    let opened = service::open_waiting(network, request, patience, rate, guess, phases, notice).await?;
    if last.as_ref() != Some(&opened.server) {
        gateway_cache::keep(hub, &opened.server);
    }
    Ok(opened)
}

/// The same error, where the stream is for measuring and the device would have to offer `builtin`.
pub(super) fn unless_offered(error: Error, builtin: &'static str) -> Error {
    match error {
        Error::Rejected { identity, stream, hub } => Error::NotOffered { identity, stream, hub, builtin },
        error => error,
    }
}

/// Runs what may ask a secret store, and with it a user, in a thread of its own: a caller that goes in the meantime is
/// noticed.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Bug(error.to_string()))?
}

/// Bridges until the end. `Ok` is an end without an error to tell.
async fn bridge(
    args: &cli::Connect,
    websocket: WebSocket<Stream>,
    caller: &mut Caller,
    signals: &mut HelperSignals,
    meter: &Meter,
    phases: &Phases,
) -> Result<Option<Exit>> {
    let settings = Settings {
        keepalive: args.way.keepalive.unwrap_or(KEEPALIVE),
        linger: Duration::from_secs(10),
        // What ssh still writes once the device has closed, nobody reads; and it may yet be told why.
        drain: Duration::ZERO,
        half_close: false,
    };
    let since = Instant::now();
    let is_ssh = caller.is_ssh();
    let input = Cursor::new(caller.opening.clone()).chain(&mut caller.input);
    let hangup = signals.hangup_or(|| logging::notice(&stats(since, meter, phases)));
    let local = (input, &mut caller.output);
    let end = tunnel::bridge(local, websocket.io, &websocket.early, &settings, meter, hangup).await;
    log::info!("ended: {end:?}, {} bytes sent, {} received", meter.sent(), meter.received());
    match end {
        End::Peer(close) if close.is_normal() && is_ssh && meter.received() == 0 => {
            Err(Error::Cut { problem: "the device's ssh server closed it before its first byte".into() })
        }
        // Whoever read stdout has gone, and with it everybody who could be told.
        End::LocalFailed(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Some(Exit::LocalIo)),
        End::LocalFailed(source) => Err(Error::LocalIo { what: "stdin and stdout".into(), source }),
        end => measure::failure(end).map_or(Ok(None), Err),
    }
}

/// One line: how long, how much, and where the time of the set-up went.
fn stats(since: Instant, meter: &Meter, phases: &Phases) -> String {
    format!(
        "stats: {:.3} s, {} bytes sent, {} bytes received, phases in ms: {}",
        since.elapsed().as_secs_f64(),
        meter.sent(),
        meter.received(),
        phases.in_milliseconds()
    )
}
