//! Looks at every phase on the way to a device, and says what to do about the one that fails.

mod known;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::connect::Plan;
use super::output::{print, print_findings};
use crate::cli;
use crate::error::{Error, Result};
use crate::finding::{Finding, Outcome, exit};
use crate::net::{Stream, WebSocket};
use crate::phase::{Phase, Phases, Timing};
use crate::service::{self, Look, Request};
use crate::tunnel::{self, Meter, Settings};

/// How long a target may take for its first words.
const BANNER_LIMIT: Duration = Duration::from_secs(5);

/// The longest identification line of an ssh server (RFC 4253, section 4.2).
const LONGEST_BANNER: usize = 255;

/// Characters of what another server says that are enough to know it by.
const SHOWN: usize = 60;

const BRIDGE: Settings = Settings {
    keepalive: Duration::ZERO,
    linger: Duration::from_secs(1),
    drain: Duration::ZERO,
    half_close: true,
};

pub(super) fn run(args: &cli::Check) -> Result<ExitCode> {
    let runtime = super::runtime()?;
    let findings = runtime.block_on(check(&args.connect));
    print_findings(&findings, args.json)?;
    let is_well = findings.iter().all(|finding| matches!(finding.outcome, Outcome::Pass(_)));
    if is_well && !args.json {
        print("all is well\n")?;
    }
    Ok(exit(&findings).map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8)))
}

async fn check(args: &cli::Connect) -> Vec<Finding> {
    let since = Instant::now();
    let plan = match Plan::new(args) {
        Ok(plan) => plan,
        Err(error) => return with_the_rest(vec![Finding::new("profile", since, Err(error))]),
    };
    let mut findings = vec![Finding::new("profile", since, Ok(plan.describe()))];
    let since = Instant::now();
    let request = match plan.request() {
        Ok(request) => request,
        Err(error) => {
            findings.push(Finding::new("credential", since, Err(error)));
            return with_the_rest(findings);
        }
    };
    let mut phases = Phases::default();
    let since = Instant::now();
    let looked = service::look(&plan.network, &request, &mut phases).await;
    findings.extend(phases.iter().map(passed));
    let look = match looked {
        Ok(look) => look,
        Err(error) => {
            findings.push(failed(error, since, &phases));
            return with_the_rest(findings);
        }
    };
    let clock = known::clock(&look);
    let clock_is_wrong = matches!(clock, Outcome::Fail(..));
    findings.push(Finding { what: "clock".into(), outcome: clock, took: since.elapsed() });
    // A hub that refuses a token for its time would refuse the next one, too.
    if clock_is_wrong && look.twin.as_ref().is_err_and(|failure| failure.status == 401) {
        return with_the_rest(findings);
    }
    stream(&plan, &request, &look, findings).await
}

/// Asks for the stream, which is what it is all about: what the hub has told before explains how that ends.
async fn stream(plan: &Plan, request: &Request, look: &Look, mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut phases = Phases::default();
    let since = Instant::now();
    let opened = service::open(&plan.network, request, None, &mut phases).await;
    let credential = match &opened {
        Err(error) if known::is_refusal(error) && look.twin.is_err() => {
            let reads_registry = service::reads_registry(&plan.network, request).await.unwrap_or(false);
            known::refused(error, &plan.describe_credential(), reads_registry)
        }
        Err(error) if matches!(phase(error), Phase::Hub) && look.twin.is_err() => Outcome::Skip,
        _ => Outcome::Pass(format!("{}: it may ask for streams", plan.describe_credential())),
    };
    let refused = matches!(credential, Outcome::Fail(..));
    let took = if refused { since.elapsed() } else { Duration::ZERO };
    findings.push(Finding { what: "credential".into(), outcome: credential, took });
    if refused {
        return with_the_rest(findings);
    }
    // The way to the hub has been looked at.
    let later = || phases.iter().skip_while(|timing| timing.phase < Phase::Hub);
    match opened {
        Ok(websocket) => {
            findings.extend(later().map(|timing| match timing.phase {
                Phase::Device => Finding { outcome: known::accepted(request, look), ..passed(timing) },
                _ => passed(timing),
            }));
            let since = Instant::now();
            findings.push(Finding::new("target", since, banner(websocket, &request.initiate.stream).await));
            findings
        }
        Err(error) => {
            let at = phase(&error);
            // Its answer was one: what that says is the failure, not that it came.
            findings.extend(later().filter(|timing| timing.phase != at).map(|timing| match timing.phase {
                Phase::Device => Finding { outcome: known::accepted(request, look), ..passed(timing) },
                _ => passed(timing),
            }));
            let explained = if at == Phase::Device { known::device(&error, request, look) } else { None };
            let mut finding = failed(error, since, &phases);
            if let Some(outcome) = explained {
                finding.outcome = outcome;
            }
            findings.push(finding);
            with_the_rest(findings)
        }
    }
}

/// What is looked at, in this order; the way to the gateway begins at dns once more.
const ALL: [&str; 9] = ["profile", "dns", "tcp", "tls", "clock", "credential", "device", "gateway", "target"];

/// Adds what is not looked at any more after a failure.
fn with_the_rest(mut findings: Vec<Finding>) -> Vec<Finding> {
    let is_found = |what: &&str| findings.iter().any(|finding| finding.what == *what);
    let rest: Vec<_> = ALL.into_iter().filter(|what| !is_found(what)).collect();
    findings.extend(rest.into_iter().map(Finding::skipped));
    findings
}

fn passed(timing: &Timing) -> Finding {
    let outcome = Outcome::Pass(timing.target.clone());
    Finding { what: timing.phase.to_string(), outcome, took: timing.took }
}

/// The finding of an error of the set-up that began at `since`, after the phases that are done.
fn failed(error: Error, since: Instant, done: &Phases) -> Finding {
    let phase = phase(&error);
    let finding = Finding::new(phase.name(), since, Err(error));
    // An answer that says no is the end of its phase.
    let answered = done.iter().last().filter(|timing| timing.phase == phase).map(|timing| timing.took);
    let took = answered.unwrap_or(finding.took.saturating_sub(done.total()));
    Finding { took, ..finding }
}

/// The phase in which an error of the set-up belongs.
fn phase(error: &Error) -> Phase {
    match error {
        Error::Network { phase, .. } | Error::Timeout { phase, .. } | Error::Upgrade { phase, .. } => *phase,
        Error::Untrusted { .. } | Error::Credential { .. } => Phase::Tls,
        Error::ProxyDenied { .. } => Phase::Proxy,
        Error::Rejected { .. } => Phase::Device,
        Error::Hub { failure, .. } if failure.is_the_devices() => Phase::Device,
        _ => Phase::Hub,
    }
}

/// What the target says first. An ssh server speaks first; another service need not.
async fn banner(websocket: WebSocket<Stream>, stream: &str) -> Result<String> {
    let (ours, theirs) = tokio::io::duplex(4096);
    let meter = Meter::default();
    let hangup = std::future::pending();
    let local = tokio::io::split(theirs);
    let bridge = tunnel::bridge(local, websocket.io, &websocket.early, &BRIDGE, &meter, hangup);
    let (said, _end) = tokio::join!(first_line(ours), bridge);
    match said {
        line if line.starts_with("SSH-") => Ok(line),
        line if stream == "ssh" => Err(Error::Protocol {
            target: "the target".into(),
            problem: if line.is_empty() {
                format!("it is no ssh server: it said nothing in {} s", BANNER_LIMIT.as_secs())
            } else {
                let begins: String = line.chars().take(SHOWN).collect();
                format!("it is no ssh server: it said '{begins}'")
            },
        }),
        line if line.is_empty() => Ok("connected; it waits to be spoken to".into()),
        line => Ok(line),
    }
}

/// Reads a line, as far as it comes, and ends the stream.
async fn first_line(mut stream: DuplexStream) -> String {
    let mut line = Vec::new();
    let reading = async {
        while line.len() < LONGEST_BANNER {
            match stream.read_u8().await {
                Ok(b'\n') | Err(_) => return,
                Ok(byte) => line.push(byte),
            }
        }
    };
    // What has come until then is all there is to judge.
    let _ = timeout(BANNER_LIMIT, reading).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&line).trim_end().to_owned()
}
