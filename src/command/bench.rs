//! Measures how fast a stream to a device is, and says first what that costs.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::interval;

use super::output::print;
use super::prompt;
use crate::connect::{self, Plan, keepalive};
use crate::error::{Error, Exit, Result};
use crate::measure::{Session, Transfer, download, upload};
use crate::platform::signals::Interrupts;
use crate::text::duration::{milliseconds, show_measured};
use crate::text::size;
use crate::time::phase::Phases;
use crate::{cli, logging};

/// What a hub's device streams carry in a day, all of them together [D].
const DAILY_QUOTA: u64 = 300_000_000;

/// How often the progress is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// The characters of a full progress bar.
const BAR: usize = 30;

/// One way of a stream.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Up,
    Down,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Up => "up",
            Way::Down => "down",
        }
    }

    /// The agent's service at the other end, and the stream that leads there.
    fn builtin(self) -> &'static str {
        match self {
            Way::Up => "discard",
            Way::Down => "source",
        }
    }
}

pub(super) fn run(args: &cli::Bench) -> Result<ExitCode> {
    let ways: &[Way] = match args.direction {
        cli::Direction::Up => &[Way::Up],
        cli::Direction::Down => &[Way::Down],
        cli::Direction::Both => &[Way::Up, Way::Down],
    };
    let plan = |way: &Way| Ok((*way, Arc::new(Plan::to_measure(&args.host, &args.way, way.builtin())?)));
    let plans = ways.iter().map(plan).collect::<Result<Vec<_>>>()?;
    if !may_begin(args, plans.len() as u64)? {
        return Ok(ExitCode::from(Exit::Other as u8));
    }
    let runtime = super::runtime()?;
    let code = runtime.block_on(bench(args, &plans));
    // A secret store that was asked for a token cannot be called back.
    runtime.shutdown_background();
    code
}

/// Says what it costs, and asks whether that is all right.
fn may_begin(args: &cli::Bench, ways: u64) -> Result<bool> {
    let uses = size::show(args.size.saturating_mul(ways));
    let cost = format!(
        "this run uses {uses} of the {} that a hub's streams may carry a day",
        size::show(DAILY_QUOTA)
    );
    if args.yes {
        if !args.log.quiet {
            logging::notice(&cost);
        }
        return Ok(true);
    }
    prompt::consent(&format!("iotstream: {cost}: go on?"))?.ok_or_else(|| Error::Usage {
        problem: format!("{cost}, and there is no terminal to ask on"),
        hint: "with --yes it does not ask, and --size says how much".into(),
    })
}

/// Measures one way after the other. One that was interrupted ends it, with what was moved.
async fn bench(args: &cli::Bench, plans: &[(Way, Arc<Plan>)]) -> Result<ExitCode> {
    let mut interrupts = Interrupts::listen()?;
    let mut runs = Vec::new();
    let mut ended = Ok(true);
    for (way, plan) in plans {
        let mut run = Run { way: *way, phases: Phases::default(), transfer: Transfer::default(), carried: 0 };
        let opened = tokio::select! {
            opened = connect::open(plan, Instant::now(), &mut run.phases) => Some(opened),
            () = interrupts.next() => None,
        };
        ended = match opened {
            Some(Ok(websocket)) => {
                let session = Session::start(websocket, keepalive(&args.way));
                run.measure(args, session, &mut interrupts).await
            }
            Some(Err(error)) => {
                ended = Err(connect::unless_offered(error, plan.stream(), way.builtin()));
                break;
            }
            None => Ok(false),
        };
        if !args.json {
            print(&run.line(args.size))?;
        }
        runs.push(run);
        if !matches!(ended, Ok(true)) {
            break;
        }
    }
    if args.json {
        print(&format!("{}\n", json(args, &plans[0].1, &runs)))?;
    }
    Ok(if ended? { ExitCode::SUCCESS } else { ExitCode::from(Exit::Other as u8) })
}

struct Run {
    way: Way,
    phases: Phases,
    transfer: Transfer,
    /// What the stream has carried both ways, whatever was measured of it.
    carried: u64,
}

impl Run {
    /// Measures until the end, or until Ctrl-C: then it is `false`.
    async fn measure(
        &mut self,
        args: &cli::Bench,
        mut session: Session,
        interrupts: &mut Interrupts,
    ) -> Result<bool> {
        self.transfer = Transfer::default();
        let (stream, transfer) = (self.way.builtin(), &self.transfer);
        let (read, write) = (&mut session.read, &mut session.write);
        let transferred = async {
            match self.way {
                Way::Up => upload(stream, read, write, args.size, transfer).await,
                Way::Down => download(stream, read, write, args.size, transfer).await,
            }
        };
        let draws = std::io::stderr().is_terminal() && !args.log.quiet;
        let progress = async {
            if !draws {
                return std::future::pending().await;
            }
            let mut redraw = interval(REDRAW);
            loop {
                redraw.tick().await;
                draw(&format!("{:<4} {}", self.way.name(), bar(transfer, args.size)));
            }
        };
        let ended = tokio::select! {
            biased;
            transferred = transferred => transferred.map(Some),
            () = interrupts.next() => Ok(None),
            never = progress => never,
        };
        if draws {
            draw("");
        }
        self.carried = session.carried();
        match ended {
            Ok(Some(false)) => Err(session.broken().await),
            ended => {
                session.end().await;
                ended.map(|ended| ended.is_some())
            }
        }
    }

    fn is_complete(&self, size: u64) -> bool {
        self.transfer.bytes() == size
    }

    fn line(&self, size: u64) -> String {
        let moved = size::show(self.transfer.bytes());
        let of = if self.is_complete(size) { String::new() } else { format!(" of {}", size::show(size)) };
        let (took, rate) = (self.transfer.took().as_secs_f64(), show_rate(self.transfer.rate()));
        let set_up = show_measured(self.phases.total());
        format!("{:<4}  {moved}{of} in {took:.3} s: {rate} (set up in {set_up})\n", self.way.name())
    }

    fn json(&self, size: u64) -> Value {
        json!({
            "direction": self.way.name(),
            "stream": self.way.builtin(),
            "bytes": self.transfer.bytes(),
            "complete": self.is_complete(size),
            "seconds": (self.transfer.took().as_secs_f64() * 1e6).round() / 1e6,
            "bitsPerSecond": self.transfer.rate().round(),
            "carried": self.carried,
            "setup": { "milliseconds": milliseconds(self.phases.total()), "phases": self.phases.json() },
        })
    }
}

fn json(args: &cli::Bench, plan: &Plan, runs: &[Run]) -> Value {
    let (identity, hub) = plan.ends();
    json!({
        "device": identity.client_id(),
        "hub": hub.to_string(),
        "size": args.size,
        "runs": runs.iter().map(|run| run.json(args.size)).collect::<Vec<_>>(),
    })
}

/// Puts a line in the place of the one before.
fn draw(line: &str) {
    // Progress that cannot be shown is no reason to stop.
    let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
}

fn bar(transfer: &Transfer, size: u64) -> String {
    let bytes = transfer.bytes();
    let full = u128::from(bytes) * BAR as u128 / u128::from(size.max(1));
    let full = usize::try_from(full).map_or(BAR, |full| full.min(BAR));
    let rate = show_rate(transfer.rate());
    format!("[{:-<BAR$}] {} of {}, {rate}", "#".repeat(full), size::show(bytes), size::show(size))
}

fn show_rate(rate: f64) -> String {
    match rate {
        1e9.. => format!("{:.2} Gbit/s", rate / 1e9),
        1e6.. => format!("{:.1} Mbit/s", rate / 1e6),
        _ => format!("{:.1} kbit/s", rate / 1e3),
    }
}
