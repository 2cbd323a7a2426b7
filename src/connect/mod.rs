//! The ProxyCommand: bridges stdin and stdout onto a stream to a device.

mod caller;
mod departure;
mod failure;
mod plan;

use std::io::{Cursor, IsTerminal};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use self::caller::Caller;
use self::departure::Departure;
pub use self::failure::refuse;
pub(crate) use self::plan::Plan;
pub(crate) use self::plan::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use crate::backend::iothub::caller as service;
use crate::backend::iothub::caller::Patience;
use crate::error::{Error, Exit, Result};
use crate::net::{Stream, WebSocket};
use crate::platform::process;
use crate::platform::signals::HelperSignals;
use crate::state::{gateways, last_failure};
use crate::text::duration;
use crate::time::phase::Phases;
use crate::tunnel::{self, Close, Controls, End, Keepalive, Meter, Settings};
use crate::{cli, logging, measure};

/// The stream that leads to an ssh server: what ssh asks for, unless it is told otherwise.
const SSH: &str = "ssh";

/// How long the first answer may take before a wait is worth a line on a terminal.
const WAIT_NOTICE: Duration = Duration::from_secs(3);

/// What `--keepalive` says.
pub(crate) fn keepalive(way: &cli::Way) -> Option<Keepalive> {
    way.keepalive.map_or(Some(Keepalive::DEFAULT), Keepalive::every)
}

pub(crate) fn run(args: &cli::Connect) -> Result<ExitCode> {
    let runtime = super::command::runtime()?;
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
    let mut stream = args.stream_asked();
    let opened = tokio::select! {
        opened = open_planned(args, &mut stream, &mut phases) => opened,
        () = signals.hangup() => return Ok(ExitCode::from(Exit::Temporary as u8)),
        () = caller.gone() => return Ok(ExitCode::from(Exit::LocalIo as u8)),
    };
    let ended = match opened {
        Ok(websocket) => {
            log::info!("the stream is up after {:.1} ms", since.elapsed().as_secs_f64() * 1e3);
            let released = caller.release_stderr_in_time();
            let ended = tokio::select! {
                ended = bridge(args, websocket, &stream, &mut caller, &mut signals, &meter, &phases) => ended,
                never = released, if !args.stats => match never {},
            };
            if args.stats {
                logging::notice(&stats(since, &meter, &phases));
            }
            ended
        }
        Err(error) => Err(error),
    };
    let error = match ended {
        Ok(exit) => {
            caller.close().await;
            return Ok(exit.map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8)));
        }
        Err(error) => error,
    };
    // In mid-session the caller is not ours to listen to any more.
    let in_band = meter.received() == 0
        && if meter.sent() == 0 { caller.is_ssh(stream == SSH).await } else { caller.has_said_ssh() };
    Ok(failure::tell(args.host.as_deref(), &error, &phases, &mut caller, in_band).await)
}

/// Decides by `plan`, which may ask a secret store, and opens the stream, whose name is in `stream` then.
async fn open_planned(
    args: &cli::Connect,
    stream: &mut String,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    let options = args.clone();
    let plan = Arc::new(apart(move || Plan::new(&options)).await?);
    plan.stream().clone_into(stream);
    open(&plan, process::started(), phases).await
}

/// Opens the stream for a user who has waited since `started`; tries again while the device is offline or the hub
/// throttles, for as long as the plan and ssh have patience.
pub(crate) async fn open(
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
    let hub = hub.to_string();
    let last = gateways::known(&hub);
    let (network, rate, guess) = (&plan.network, plan.rate.as_ref(), last.as_ref());
    let opened = service::open_waiting(network, request, patience, rate, guess, phases, notice).await?;
    if last.as_ref() != Some(&opened.server) {
        gateways::keep(&hub, &opened.server);
    }
    Ok(opened)
}

/// The same error, where the stream is for measuring and the device would have to offer `builtin`.
pub(crate) fn unless_offered(error: Error, stream: &str, builtin: &'static str) -> Error {
    match error {
        Error::Backend(rejection) if rejection.is_rejection() => {
            Error::NotOffered { rejection, stream: stream.to_owned(), builtin }
        }
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
    stream: &str,
    caller: &mut Caller,
    signals: &mut HelperSignals,
    meter: &Meter,
    phases: &Phases,
) -> Result<Option<Exit>> {
    let settings = Settings {
        keepalive: keepalive(&args.way),
        linger: None,
        // What ssh still writes once the device has closed, nobody reads; and it may yet be told why.
        drain: Some(Duration::ZERO),
        rest: None,
        half_close: false,
        failed: |_| Close::new(Close::GOING_AWAY, "the user's side has gone"),
        reset: true,
    };
    let since = Instant::now();
    let is_ssh = stream == SSH || caller.has_said_ssh();
    let departure = Departure::watch(caller).map_err(Error::local_io("stdin and stdout"))?;
    let input = departure.noting_end(Cursor::new(caller.opening.clone()).chain(&mut caller.input));
    let signal = OnceLock::new();
    let hangup = async {
        let name = departure.asked(signals, || logging::notice(&stats(since, meter, phases))).await;
        let _ = signal.set(name);
        Close::new(Close::GOING_AWAY, format!("the user's helper was ended by {name}"))
    };
    let controls = Controls { hangup, gone: departure.gone() };
    let local = (input, &mut caller.output);
    let end = tunnel::bridge(local, websocket.io, &websocket.early, &settings, meter, controls).await;
    log::info!("ended: {end:?}, {} bytes sent, {} received", meter.sent(), meter.received());
    let ended = match end {
        end if let Some(error) = failure::before_the_first_byte(&end, meter.received(), stream, is_ssh) => {
            Err(error)
        }
        // Whoever read stdout has gone, and with it everybody who could be told.
        End::LocalFailed(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Some(Exit::LocalIo)),
        End::LocalFailed(source) => Err(Error::LocalIo { what: "stdin and stdout".into(), source }),
        End::HungUp { whole: false } => {
            Err(Error::Signalled { signal: signal.get().unwrap_or(&"the caller's end") })
        }
        end => measure::failure(end).map_or(Ok(None), Err),
    };
    match ended {
        // Nobody is left who could be told; that all was said is what counts.
        Err(error) if departure.has_gone() => {
            log::info!("the caller has gone: {error}");
            if departure.is_read_whole() {
                return Ok(None);
            }
            last_failure::keep(args.host.as_deref(), &error, phases);
            Ok(Some(error.exit()))
        }
        ended => ended,
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
