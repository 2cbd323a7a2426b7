//! Looks at every phase on the way to a device, and says what to do about the one that fails.

mod known;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::output::{print, print_findings};
use crate::backend::iothub::caller::{self, Look, Request};
use crate::check::{Finding, Outcome, STEPS, exit, skip_rest, target};
use crate::cli;
use crate::connect::Plan;
use crate::error::{Error, Result};
use crate::time::phase::{Phase, Phases, Timing};

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
            let outcome = target(websocket.io, &websocket.early, &request.initiate.stream).await;
            findings.push(Finding { what: "target".into(), outcome, took: since.elapsed() });
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

/// Adds the steps that are not checked after a failure.
fn with_the_rest(mut findings: Vec<Finding>) -> Vec<Finding> {
    skip_rest(&mut findings, &STEPS);
    findings.push(Finding::skipped("target"));
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
