//! Measures the round trip to a device, through a real stream.

use std::cell::RefCell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::options::to_measure;
use super::output::{print, print_to_reader, reader_has_gone};
use crate::backend::Dialer;
use crate::cli;
use crate::connect::{self, Plan};
use crate::error::{Exit, Result, escape};
use crate::measure::{Event, MeasuredStream, Pace, Summary, round_trips};
use crate::platform::signals::Interrupts;
use crate::text::duration::{milliseconds, show, show_measured};
use crate::time::phase::Phases;

pub(super) fn run(args: &cli::Ping) -> Result<ExitCode> {
    let plan = Plan::read(&to_measure(&args.host, &args.stream_args, &args.stream))?;
    let runtime = super::runtime()?;
    let code = runtime.block_on(ping(args, &plan));
    // A thread that waits for a secret store cannot be called back.
    runtime.shutdown_background();
    code
}

async fn ping(args: &cli::Ping, plan: &Plan) -> Result<ExitCode> {
    let report = Report::new(args, plan);
    report.begins()?;
    let mut phases = Phases::default();
    let opened = connect::open(plan, Instant::now(), &mut phases).await;
    let joined = opened.map_err(|error| connect::unless_offered(error, plan.dialer.stream(), "echo"))?;
    // Before this, Ctrl-C ends the command as it ends any other.
    let mut interrupts = Interrupts::listen()?;
    report.is_set_up(&phases)?;
    let mut stream = MeasuredStream::start(joined, plan.keepalive);
    let pace = Pace {
        count: args.count,
        interval: args.interval,
        size: usize::try_from(args.size).unwrap_or(usize::MAX),
        timeout: args.timeout,
    };
    let note = |event| report.note(event);
    let ended = tokio::select! {
        ended = round_trips(&args.stream, &mut stream.read, &mut stream.write, &pace, note) => ended,
        () = interrupts.next() => Ok(true),
    };
    report.ends(&phases)?;
    match ended {
        Ok(false) => return Err(stream.broken().await),
        Err(error) if !reader_has_gone(&error) => {
            stream.end().await;
            return Err(error);
        }
        _ => stream.end().await,
    }
    let answered = report.probes.borrow().iter().any(Option::is_some);
    Ok(if answered { ExitCode::SUCCESS } else { Exit::Other.into() })
}

/// The output.
struct Report<'a> {
    args: &'a cli::Ping,
    dialer: &'a dyn Dialer,
    /// The device or module that was to be asked first.
    device: String,
    /// The time of each probe that was sent, where it was answered.
    probes: RefCell<Vec<Option<Duration>>>,
}

impl<'a> Report<'a> {
    fn new(args: &'a cli::Ping, plan: &'a Plan) -> Self {
        let dialer = &*plan.dialer;
        Self { args, dialer, device: dialer.device(), probes: RefCell::default() }
    }

    fn begins(&self) -> Result<()> {
        let cli::Ping { stream, size, .. } = self.args;
        let hub = self.dialer.service();
        self.say(&format!("PING {} (stream {stream}) through {hub}: {size} bytes\n", self.device))
    }

    fn is_set_up(&self, phases: &Phases) -> Result<()> {
        let device = Some(self.dialer.device()).filter(|device| *device != self.device);
        let other = device.map_or_else(String::new, |device| format!(" with {device}"));
        let (took, phases) = (show_measured(phases.total()), phases.in_milliseconds());
        self.say(&format!("set up{other} in {took}: {phases}\n"))
    }

    fn note(&self, event: Event) -> Result<()> {
        match event {
            Event::Sent(_) => {
                self.probes.borrow_mut().push(None);
                Ok(())
            }
            Event::Answered(seq, took) => {
                let index = usize::try_from(seq - 1).unwrap_or(usize::MAX);
                if let Some(probe) = self.probes.borrow_mut().get_mut(index) {
                    *probe = Some(took);
                }
                self.say(&format!("seq={seq} time={}\n", show_measured(took)))
            }
            Event::Missed(seq) => self.say(&format!("seq={seq} no answer in {}\n", show(self.args.timeout))),
        }
    }

    fn ends(&self, phases: &Phases) -> Result<()> {
        let probes = self.probes.borrow();
        let times: Vec<_> = probes.iter().copied().flatten().collect();
        let (sent, answered) = (probes.len(), times.len());
        let summary = Summary::of(times);
        if self.args.json {
            return print(&format!("{}\n", self.json(&probes, answered, summary, phases)));
        }
        let lost = (sent - answered) * 100 / sent.max(1);
        let mut text = format!("\n--- {} ping statistics ---\n", escape(&self.dialer.device()));
        text += &format!("{sent} probes sent, {answered} answered, {lost}% lost\n");
        if let Some(Summary { min, median, p99, max }) = summary {
            let times = [min, median, p99, max].map(|time| show_measured(time).replace(" ms", ""));
            text += &format!("round trip min/median/p99/max = {} ms\n", times.join("/"));
        }
        print(&text)
    }

    fn json(
        &self,
        probes: &[Option<Duration>],
        answered: usize,
        summary: Option<Summary>,
        phases: &Phases,
    ) -> Value {
        let probe = |(seq, took): (usize, &Option<Duration>)| json!({ "seq": seq, "milliseconds": took.map(milliseconds) });
        let summary = summary.map(|Summary { min, median, p99, max }| {
            let [min, median, p99, max] = [min, median, p99, max].map(milliseconds);
            json!({ "min": min, "median": median, "p99": p99, "max": max })
        });
        json!({
            "device": self.dialer.device(),
            "hub": self.dialer.service(),
            "stream": self.args.stream,
            "size": self.args.size,
            "setup": { "milliseconds": milliseconds(phases.total()), "phases": phases.json() },
            "probes": (1..).zip(probes).map(probe).collect::<Vec<_>>(),
            "sent": probes.len(),
            "answered": answered,
            "milliseconds": summary,
        })
    }

    fn say(&self, line: &str) -> Result<()> {
        if self.args.json { Ok(()) } else { print_to_reader(&escape_lines(line)) }
    }
}

/// The names in a line come from the user and the hub.
fn escape_lines(line: &str) -> String {
    escape(line.trim_end_matches('\n')) + "\n"
}
