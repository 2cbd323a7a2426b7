//! Looks at every phase on the way to a device, and says what to do about the one that fails.

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
use crate::phase::{Phase, Phases};
use crate::service;
use crate::tunnel::{self, Meter, Settings};

/// How long a target may take for its first words.
const BANNER_LIMIT: Duration = Duration::from_secs(5);

/// The longest identification line of an ssh server (RFC 4253, section 4.2).
const LONGEST_BANNER: usize = 255;

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
    if exit(&findings).is_none() && !args.json {
        print("all is well\n")?;
    }
    Ok(exit(&findings).map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8)))
}

async fn check(args: &cli::Connect) -> Vec<Finding> {
    let since = Instant::now();
    let plan = match Plan::new(args) {
        Ok(plan) => plan,
        Err(error) => return with_the_rest(vec![Finding::new("profile", since, Err(error))], &AFTER_PROFILE),
    };
    let mut findings = vec![Finding::new("profile", since, Ok(plan.describe()))];
    let since = Instant::now();
    let request = match plan.request() {
        Ok(request) => request,
        Err(error) => {
            findings.push(Finding::new("credential", since, Err(error)));
            return with_the_rest(findings, &AFTER_CREDENTIAL);
        }
    };
    findings.push(Finding::new("credential", since, Ok(plan.describe_credential())));
    let mut phases = Phases::default();
    let since = Instant::now();
    let opened = service::open(&plan.network, &request, &mut phases).await;
    let before: Duration = phases.iter().map(|timing| timing.took).sum();
    findings.extend(phases.iter().map(|timing| Finding {
        what: timing.phase.to_string(),
        outcome: Outcome::Pass(timing.target.clone()),
        took: timing.took,
    }));
    match opened {
        Ok(websocket) => {
            let since = Instant::now();
            findings.push(Finding::new("target", since, banner(websocket, &request.initiate.stream).await));
            findings
        }
        Err(error) => {
            let failed = phase(&error);
            // Its answer was one: what that says is the failure, not that it came.
            findings.retain(|finding| {
                finding.what != failed.name() || !matches!(failed, Phase::Hub | Phase::Device)
            });
            let rest: Vec<_> = ["device", "gateway", "target"]
                .into_iter()
                .filter(|&what| what != failed.name() && findings.iter().all(|finding| finding.what != what))
                .collect();
            let finding = Finding::new(failed.name(), since, Err(error));
            let took = finding.took.saturating_sub(before);
            findings.push(Finding { took, ..finding });
            with_the_rest(findings, &rest)
        }
    }
}

const AFTER_PROFILE: [&str; 8] = ["credential", "dns", "tcp", "tls", "hub", "device", "gateway", "target"];
const AFTER_CREDENTIAL: [&str; 7] = ["dns", "tcp", "tls", "hub", "device", "gateway", "target"];

fn with_the_rest(mut findings: Vec<Finding>, rest: &[&str]) -> Vec<Finding> {
    findings.extend(rest.iter().map(|what| Finding::skipped(what)));
    findings
}

/// The phase in which an error of the set-up belongs.
fn phase(error: &Error) -> Phase {
    match error {
        Error::Network { phase, .. } | Error::Timeout { phase, .. } => *phase,
        Error::Untrusted { .. } | Error::Credential { .. } => Phase::Tls,
        Error::Rejected { .. } => Phase::Device,
        Error::Hub { failure, .. } if failure.is_the_devices() => Phase::Device,
        Error::Upgrade { .. } => Phase::Gateway,
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
                format!("it is no ssh server: it said '{line}'")
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
