//! Measures the throughput of a stream to a device, and says first how much of the daily quota that uses.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::interval;

use super::options::to_measure;
use super::output::print;
use super::progress::draw;
use super::prompt;
use crate::connect::{self, Plan};
use crate::error::{Error, Exit, Result};
use crate::measure::{MeasuredStream, Transfer, download, upload};
use crate::platform::signals::Interrupts;
use crate::text::duration::{milliseconds, show_measured};
use crate::text::size;
use crate::time::phase::Phases;
use crate::{cli, logging};

/// How often the progress is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The characters of a full progress bar.
const BAR: usize = 30;

/// One direction of a stream.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }

    /// The agent's built-in target at the other end, and the stream that leads to it.
    fn builtin(self) -> &'static str {
        match self {
            Direction::Up => "discard",
            Direction::Down => "source",
        }
    }
}

pub(super) fn run(args: &cli::Bench) -> Result<ExitCode> {
    let directions: &[Direction] = match args.direction {
        cli::Direction::Up => &[Direction::Up],
        cli::Direction::Down => &[Direction::Down],
        cli::Direction::Both => &[Direction::Up, Direction::Down],
    };
    let plan = |direction: &Direction| {
        let options = to_measure(&args.host, &args.stream_args, direction.builtin());
        Ok((*direction, Plan::read(&options)?))
    };
    let plans = directions.iter().map(plan).collect::<Result<Vec<_>>>()?;
    if !may_begin(args, &plans)? {
        return Ok(Exit::Other.into());
    }
    let runtime = super::runtime()?;
    let code = runtime.block_on(bench(args, &plans));
    // A thread that waits for a secret store cannot be called back.
    runtime.shutdown_background();
    code
}

/// Says how much of the daily quota the run uses, and asks whether to go on.
fn may_begin(args: &cli::Bench, plans: &[(Direction, Plan)]) -> Result<bool> {
    let uses = size::show(args.size.saturating_mul(plans.len() as u64));
    let quota = plans.iter().find_map(|(_, plan)| plan.dialer.daily_quota());
    let cost = match quota {
        Some(quota) => {
            let quota = size::show(quota);
            format!("this run uses {uses} of the {quota} that a hub's streams may carry a day")
        }
        None => format!("this run transfers {uses}"),
    };
    if args.yes {
        if !args.log.quiet {
            logging::notice(&cost);
        }
        return Ok(true);
    }
    prompt::consent(&format!("iotstream: {cost}: go on?"))?.ok_or_else(|| {
        Error::usage(
            format!("{cost}, and there is no terminal to ask on"),
            "use --yes to run without asking; --size sets how much is transferred",
        )
    })
}

/// Measures one direction after the other. Ctrl-C ends it, with what has been transferred.
async fn bench(args: &cli::Bench, plans: &[(Direction, Plan)]) -> Result<ExitCode> {
    let mut interrupts = Interrupts::listen()?;
    let mut runs = Vec::new();
    let mut ended = Ok(true);
    for (direction, plan) in plans {
        let mut run = Run {
            direction: *direction,
            phases: Phases::default(),
            transfer: Transfer::default(),
            carried: 0,
        };
        let opened = tokio::select! {
            opened = connect::open(plan, Instant::now(), &mut run.phases) => Some(opened),
            () = interrupts.next() => None,
        };
        ended = match opened {
            Some(Ok(joined)) => {
                let stream = MeasuredStream::start(joined, plan.keepalive);
                run.measure(args, stream, &mut interrupts).await
            }
            Some(Err(error)) => {
                ended = Err(connect::unless_offered(error, plan.dialer.stream(), direction.builtin()));
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
    Ok(if ended? { ExitCode::SUCCESS } else { Exit::Other.into() })
}

struct Run {
    direction: Direction,
    phases: Phases,
    transfer: Transfer,
    /// Bytes that the stream has carried in both directions, measured or not.
    carried: u64,
}

impl Run {
    /// Measures until the end, or until Ctrl-C: then it is `false`.
    async fn measure(
        &mut self,
        args: &cli::Bench,
        mut stream: MeasuredStream,
        interrupts: &mut Interrupts,
    ) -> Result<bool> {
        self.transfer = Transfer::default();
        let (name, transfer) = (self.direction.builtin(), &self.transfer);
        let (read, write) = (&mut stream.read, &mut stream.write);
        let transferred = async {
            match self.direction {
                Direction::Up => upload(name, read, write, args.size, transfer).await,
                Direction::Down => download(name, read, write, args.size, transfer).await,
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
                draw(&format!("{:<4} {}", self.direction.name(), bar(transfer, args.size)));
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
        self.carried = stream.carried();
        match ended {
            Ok(Some(false)) => Err(stream.broken().await),
            ended => {
                stream.end().await;
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
        format!("{:<4}  {moved}{of} in {took:.3} s: {rate} (set up in {set_up})\n", self.direction.name())
    }

    fn json(&self, size: u64) -> Value {
        json!({
            "direction": self.direction.name(),
            "stream": self.direction.builtin(),
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
    json!({
        "device": plan.dialer.device(),
        "hub": plan.dialer.service(),
        "size": args.size,
        "runs": runs.iter().map(|run| run.json(args.size)).collect::<Vec<_>>(),
    })
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
