//! Looks at every phase on the way to a device, and says what to do about the one that fails.

mod known;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::timeout_at;

use super::output::{print, print_findings};
use crate::backend::iothub::caller::{self, Look, Request};
use crate::backend::iothub::phase;
use crate::check::{Finding, Outcome, exit};
use crate::cli;
use crate::connect::Plan;
use crate::error::{Error, Exit, Result};
use crate::net::{Stream, WebSocket};
use crate::time::phase::{Phase, Phases, Timing};
use crate::tunnel::{self, Close, Controls, Meter, Settings};

/// How long an ssh server may take for its first words: one on a small or busy device, that looks its user's address
/// up, needs many seconds.
const SSH_LIMIT: Duration = Duration::from_secs(30);

/// How long another target is listened to, which need not speak first, and a target that has said something else.
const OTHER_LIMIT: Duration = Duration::from_secs(5);

/// What is read of a target: an ssh server may write other lines before its own (RFC 4253, section 4.2).
const MOST: u64 = 16 << 10;

/// Characters of what another server says that are enough to know it by.
const SHOWN: usize = 60;

const BRIDGE: Settings = Settings {
    keepalive: None,
    linger: Some(Duration::from_secs(1)),
    drain: Some(Duration::ZERO),
    rest: Some(Duration::from_secs(1)),
    half_close: true,
    failed: |_| Close::new(Close::GOING_AWAY, "the check has ended"),
    reset: true,
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
    let looked = caller::look(&plan.network, &request, &mut phases).await;
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
    let opened = caller::open(&plan.network, request, None, &mut phases).await;
    let credential = match &opened {
        Err(error) if known::is_refusal(error) && look.twin.is_err() => {
            let reads_registry = caller::reads_registry(&plan.network, request).await.unwrap_or(false);
            known::refused(error, &plan.describe_credential(), reads_registry)
        }
        Err(error) if matches!(phase(error), phase::HUB) && look.twin.is_err() => Outcome::Skip,
        _ => Outcome::Pass(format!("{}: it may ask for streams", plan.describe_credential())),
    };
    let refused = matches!(credential, Outcome::Fail(..));
    let took = if refused { since.elapsed() } else { Duration::ZERO };
    findings.push(Finding { what: "credential".into(), outcome: credential, took });
    if refused {
        return with_the_rest(findings);
    }
    // The way to the hub has been looked at.
    let later = || phases.iter().skip_while(|timing| timing.phase.is_connecting());
    match opened {
        Ok(websocket) => {
            findings.extend(later().map(|timing| match timing.phase {
                phase::DEVICE => Finding { outcome: known::accepted(request, look), ..passed(timing) },
                _ => passed(timing),
            }));
            let since = Instant::now();
            let outcome = banner(websocket, &request.initiate.stream).await;
            findings.push(Finding { what: "target".into(), outcome, took: since.elapsed() });
            findings
        }
        Err(error) => {
            let at = phase(&error);
            // Its answer was one: what that says is the failure, not that it came.
            findings.extend(later().filter(|timing| timing.phase != at).map(|timing| match timing.phase {
                phase::DEVICE => Finding { outcome: known::accepted(request, look), ..passed(timing) },
                _ => passed(timing),
            }));
            let explained = if at == phase::DEVICE { known::device(&error, request, look) } else { None };
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

/// The phase in which an error of the set-up belongs; a token that cannot be had is asked for after TLS.
fn phase(error: &Error) -> Phase {
    match error {
        Error::Credential { .. } => Phase::TLS,
        error => error.phase().unwrap_or(phase::HUB),
    }
}

/// What the target says first.
async fn banner(websocket: WebSocket<Stream>, stream: &str) -> Outcome {
    let (ours, theirs) = tokio::io::duplex(4096);
    let meter = Meter::default();
    let controls = Controls { hangup: std::future::pending(), gone: std::future::pending() };
    let local = tokio::io::split(theirs);
    let bridge = tunnel::bridge(local, websocket.io, &websocket.early, &BRIDGE, &meter, controls);
    let (said, _end) = tokio::join!(listen(ours, stream == "ssh"), bridge);
    judge(said, stream)
}

/// What a target has said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// An ssh server's line, or the first of another.
    Line(String),
    Nothing,
    /// It ended the stream instead.
    Ended,
}

/// An ssh server speaks first; another service need not.
fn judge(said: Said, stream: &str) -> Outcome {
    let problem = match said {
        Said::Line(line) if line.starts_with("SSH-") || stream != "ssh" => return Outcome::Pass(line),
        Said::Line(line) => {
            let begins: String = line.chars().take(SHOWN).collect();
            format!("it is no ssh server: it said '{begins}'")
        }
        Said::Nothing if stream != "ssh" => {
            return Outcome::Pass("connected; it waits to be spoken to".into());
        }
        Said::Nothing => {
            format!("an ssh server speaks first, and it said nothing in {} s", SSH_LIMIT.as_secs())
        }
        Said::Ended => "it ended the stream without a word".into(),
    };
    let hint = format!(
        "the agent's configuration says what the stream '{stream}' leads to: look at it on the device"
    );
    if stream == "ssh" {
        Outcome::Fail(problem, Some(hint), Exit::Protocol)
    } else {
        Outcome::Warn(problem, hint)
    }
}

/// Reads lines until an ssh server's, or for another target the first one, and ends the stream.
async fn listen(stream: DuplexStream, is_ssh: bool) -> Said {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader.take(MOST));
    let mut said = Said::Nothing;
    let mut by = tokio::time::Instant::now() + if is_ssh { SSH_LIMIT } else { OTHER_LIMIT };
    let mut line = Vec::new();
    loop {
        let read = timeout_at(by, reader.read_until(b'\n', &mut line)).await;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !text.is_empty() && (said == Said::Nothing || text.starts_with("SSH-")) {
            said = Said::Line(text.clone());
            by = by.min(tokio::time::Instant::now() + OTHER_LIMIT);
        }
        match read {
            Ok(Ok(1..)) if is_ssh && !text.starts_with("SSH-") => line.clear(),
            Ok(Ok(0) | Err(_)) if said == Said::Nothing => {
                said = Said::Ended;
                break;
            }
            _ => break,
        }
    }
    let _ = writer.shutdown().await;
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of a target that says `parts`, each after so many seconds, and then stays or goes.
    async fn heard(parts: &[(u64, &str)], stays: bool, is_ssh: bool) -> Said {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let target = async {
            for (seconds, part) in parts {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                let _ = theirs.write_all(part.as_bytes()).await;
            }
            if stays {
                // Until it is left.
                let _ = theirs.read_u8().await;
            }
            drop(theirs);
        };
        tokio::join!(listen(ours, is_ssh), target).0
    }

    #[tokio::test(start_paused = true)]
    async fn an_ssh_server_may_take_its_time() {
        let line = |text: &str| Said::Line(text.into());
        for (parts, stays, is_ssh, said) in [
            (&[(7, "SSH-2.0-slow\r\n")][..], true, true, line("SSH-2.0-slow")),
            (&[(20, "SSH-"), (7, "2.0-slower\n")], true, true, line("SSH-2.0-slower")),
            (&[(1, "welcome\n\nto\n"), (3, "SSH-2.0-x\n")], true, true, line("SSH-2.0-x")),
            (&[(1, "welcome\nSSH-2.0-x")], false, true, line("SSH-2.0-x")),
            (&[(1, "220 mail\r\n")], true, true, line("220 mail")),
            (&[(1, "HTTP/1.1 400 Bad Request\r\n\r\n")], false, true, line("HTTP/1.1 400 Bad Request")),
            (&[(31, "SSH-2.0-late\n")], true, true, Said::Nothing),
            (&[], false, true, Said::Ended),
            (&[(1, "RFB 003.008\n")], true, false, line("RFB 003.008")),
            (&[(6, "late\n")], true, false, Said::Nothing),
            (&[], false, false, Said::Ended),
        ] {
            assert_eq!(heard(parts, stays, is_ssh).await, said, "{parts:?}");
        }
    }

    #[test]
    fn only_what_speaks_otherwise_is_no_ssh_server() {
        let told = |said, stream| match judge(said, stream) {
            Outcome::Fail(problem, ..) => problem,
            Outcome::Warn(problem, _) => format!("warning: {problem}"),
            Outcome::Pass(_) => "pass".into(),
            Outcome::Skip => "skip".into(),
        };
        assert_eq!(told(Said::Line("SSH-2.0-x".into()), "ssh"), "pass");
        assert!(told(Said::Line("220 mail".into()), "ssh").contains("no ssh server: it said '220 mail'"));
        assert!(told(Said::Nothing, "ssh").contains("said nothing in 30 s"));
        assert!(told(Said::Ended, "ssh").starts_with("it ended the stream"));
        assert!(told(Said::Ended, "tcp-80").starts_with("warning: it ended the stream"));
        assert_eq!(told(Said::Nothing, "tcp-80"), "pass");
    }
}
