//! The bridge between the caller and an open stream.

use std::cell::RefCell;
use std::io::{Cursor, ErrorKind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::caller::{Caller, NotingOpening};
use super::departure::Departure;
use super::failure::{SSH, before_the_first_byte};
use crate::backend::Joined;
use crate::error::{Error, Exit, Result};
use crate::logging;
use crate::ssh::disconnect;
use crate::state::last_failure;
use crate::time::phase::Phases;
use crate::tunnel::{self, Close, Controls, Direction, End, Keepalive, Meter, Settings};

/// How long stdin may be silent after the device's end before the helper ends. A program that reacts to the end of stdout
/// writes its last bytes within a second or two; one that keeps stdin open for nothing waits this long for the helper.
const DRAIN: Duration = Duration::from_secs(3);

/// An open stream, its settings and counters.
pub(super) struct Stream<'a> {
    pub(super) host: &'a str,
    pub(super) device: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) half_close: bool,
    pub(super) meter: &'a Meter,
    pub(super) phases: &'a Phases,
}

impl Stream<'_> {
    /// Bridges until the end. `Ok` is an end without an error to report, with an exit status other than 0 if given.
    pub(super) async fn bridge(self, joined: Joined, caller: &mut Caller) -> Result<Option<Exit>> {
        let Self { host, device, name, keepalive, half_close, meter, phases } = self;
        let Caller { input, output, signals, opening, .. } = &mut *caller;
        let settings = Settings {
            keepalive,
            linger: None,
            // A user at a terminal waits for the helper.
            drain: Some(if input.is_terminal() { Duration::ZERO } else { DRAIN }),
            rest: None,
            half_close: true,
            one_connection: false,
            hold_close: !half_close,
            direction: Some(Direction::Up),
            going_away_is_end: false,
            failed: |_| Close::hang_up("side has gone"),
            reset: true,
        };
        let since = Instant::now();
        let watched = Departure::watch(input).and_then(|departure| Ok((departure, output.watch()?)));
        let (departure, output_watch) = watched.map_err(Error::local_io("stdin and stdout"))?;
        let heard = Cursor::new(opening.clone());
        let opening = RefCell::new(opening);
        let input = departure.noting_end(heard.chain(NotingOpening { input, opening: &opening }));
        let output = departure.noting_close(output);
        let signal = OnceLock::new();
        let hangup = async {
            let name = departure.asked(signals, || logging::notice(&stats(since, meter, phases))).await;
            let _ = signal.set(name);
            Close::hang_up(format_args!("helper was ended by {name}"))
        };
        let gone = async {
            departure.gone(output_watch).await;
            Close::hang_up("side has gone")
        };
        // Nobody reads what ssh writes after the device's end, and ssh may still need the in-band error.
        let ends_with_peer = || {
            let opening = opening.borrow();
            let may_be_ssh = meter.received() == 0 && name == SSH && disconnect::is_beginning(&opening);
            disconnect::is_ssh(&opening) || may_be_ssh
        };
        let controls = Controls { hangup, gone, ends_with_peer };
        let end = tunnel::bridge((input, output), joined.io, &joined.early, &settings, meter, controls).await;
        log::info!("ended: {end:?}, {} bytes sent, {} received", meter.sent(), meter.received());
        let is_ssh = name == SSH || caller.has_said_ssh();
        let ended = match end {
            end if let Some(error) = before_the_first_byte(&end, meter.received(), name, is_ssh) => {
                Err(error)
            }
            // The reader of stdout has gone, and with it the reader of an error.
            End::LocalFailed(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Some(Exit::LocalIo)),
            End::LocalFailed(source) => Err(Error::LocalIo { what: "stdin and stdout".into(), source }),
            End::HungUp { whole: false } => {
                Err(Error::Signalled { signal: signal.get().unwrap_or(&"the caller's end") })
            }
            end => end.error().map_or(Ok(None), Err),
        };
        match ended {
            // Nobody reads an error. The exit status depends on whether all of stdin was read.
            Err(error) if departure.has_gone(&caller.output) => {
                log::info!("the caller has gone: {error}");
                if departure.is_read_whole() {
                    return Ok(None);
                }
                last_failure::keep(Some(host), device, &error, phases);
                Ok(Some(error.exit()))
            }
            ended => ended,
        }
    }
}

/// The line of `--stats`: duration, bytes in each direction, and the phases.
pub(super) fn stats(since: Instant, meter: &Meter, phases: &Phases) -> String {
    format!(
        "stats: {:.3} s, {} bytes sent, {} bytes received, phases in ms: {}",
        since.elapsed().as_secs_f64(),
        meter.sent(),
        meter.received(),
        phases.in_milliseconds()
    )
}
