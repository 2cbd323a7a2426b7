//! Diagnoses each step of the connection to a device, up to the joined stream.

use std::time::{Duration, Instant, SystemTime};

use super::request::Request;
use crate::backend::relay::error::Error as RelayError;
use crate::backend::relay::phase::{DEVICE, RELAY};
use crate::backend::relay::proto::Cause;
use crate::backend::skew::Skew;
use crate::backend::{Checked, Joined};
use crate::check::{Finding, Outcome, STEPS, skip_rest};
use crate::error::{Error, Result};
use crate::time::phase::{Phase, Phases};

/// The result of a check without a token.
pub(in crate::backend::relay) fn no_token(error: Error, since: Instant) -> Checked {
    failed(vec![Finding::new("credential", since, Err(error))])
}

/// Explains the attempt to open the stream of `request`, which took the time `took`.
pub(in crate::backend::relay) fn explain(
    request: &Request,
    opened: Result<(Joined, Option<SystemTime>)>,
    phases: &Phases,
    took: Duration,
) -> Checked {
    let mut findings = connecting(phases);
    let credential = request.credential.describe();
    let passed = |what: &str, detail: String| Finding {
        what: what.into(),
        outcome: Outcome::Pass(detail),
        took: Duration::ZERO,
    };
    let error = match opened {
        Ok((joined, date)) => {
            findings.push(clock(date.map(|there| Skew::measured(SystemTime::now(), there))));
            findings.push(passed("credential", format!("{credential}: it may open streams")));
            let accepted = passed("device", format!("accepted the stream '{}'", request.stream));
            let took = last(phases, RELAY).unwrap_or_default();
            findings.push(Finding { took, ..accepted });
            let outcome = Outcome::Absent("a relay has no gateway of its own");
            findings.push(Finding { what: "gateway".into(), outcome, took: Duration::ZERO });
            return Checked { findings, stream: Some(joined) };
        }
        Err(error) => error,
    };
    let mut step = error.phase().unwrap_or(Phase::TLS).name();
    if let Some(RelayError::Refused(refused)) = error.fault() {
        findings.push(clock(refused.skew));
        match refused.cause() {
            Cause::Token => step = "credential",
            // The namespace has let the token pass to the listener.
            Cause::Agent | Cause::Listener | Cause::LateListener => {
                findings.push(passed("credential", format!("{credential}: it may open streams")));
            }
            // It is not known which of the two it looks at first.
            _ if error.phase() == Some(DEVICE) => findings.push(Finding::skipped("credential")),
            _ => {}
        }
    }
    let took = took.saturating_sub(phases.total());
    findings.push(Finding { what: step.into(), outcome: Err(error).into(), took });
    failed(findings)
}

/// The findings of the last try's connection.
fn connecting(phases: &Phases) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for timing in phases.iter().filter(|timing| timing.phase.is_connecting()) {
        match findings.iter_mut().find(|finding| finding.what == timing.phase.name()) {
            Some(finding) => *finding = timing.into(),
            None => findings.push(timing.into()),
        }
    }
    findings
}

fn last(phases: &Phases, phase: Phase) -> Option<Duration> {
    phases.iter().filter(|timing| timing.phase == phase).last().map(|timing| timing.took)
}

/// Compares this machine's clock with the namespace's, if its answer has a date.
fn clock(skew: Option<Skew>) -> Finding {
    let outcome = match skew {
        Some(skew) => skew.outcome("relay", |skew| RelayError::Skewed { skew }.into()),
        None => Outcome::Absent("the relay's answer has no date"),
    };
    Finding { what: "clock".into(), outcome, took: Duration::ZERO }
}

/// The result of a failed check.
fn failed(mut findings: Vec<Finding>) -> Checked {
    skip_rest(&mut findings, &STEPS);
    Checked { findings, stream: None }
}
