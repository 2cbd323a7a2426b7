//! Diagnoses each step of the connection to a device, up to the joined stream.

use std::time::{Duration, Instant};

use super::credential::Credential;
use super::default_module::{DefaultModule, is_without_module};
use super::explain;
use super::logins::{First, first, watch};
use super::lookup::{Lookup, lookup, reads_registry};
use super::open::{Request, open};
use crate::backend::Checked;
use crate::backend::iothub::phase::{DEVICE, HUB};
use crate::backend::iothub::proto::Identity;
use crate::check::{Finding, Outcome, STEPS, skip_rest};
use crate::error::{Error, Result};
use crate::net::{Network, Stream, WebSocket};
use crate::time::phase::{Phase, Phases};

/// Checks whether the stream of `request` opens, for the module `default` or else the device itself if there is such a
/// default.
pub(super) async fn check(
    network: &Network,
    request: impl Future<Output = Result<Request>>,
    credential: &Credential,
    default: Option<&DefaultModule>,
) -> Checked {
    let since = Instant::now();
    let request = match request.await {
        Ok(request) => request,
        Err(error) => return failed(vec![Finding::new("credential", since, Err(error))]),
    };
    let mut phases = Phases::default();
    let since = Instant::now();
    let found = lookup(network, &request, &mut phases).await;
    let mut findings: Vec<Finding> = phases.iter().map(Finding::from).collect();
    let lookup = match found {
        Ok(lookup) => lookup,
        Err(error) => {
            findings.push(failure(&error, since, &phases));
            return failed(findings);
        }
    };
    let clock = explain::clock(&lookup);
    let clock_is_wrong = matches!(clock, Outcome::Fail(..));
    findings.push(Finding { what: "clock".into(), outcome: clock, took: since.elapsed() });
    // The hub would refuse the next token for the same reason.
    if clock_is_wrong && lookup.twin.as_ref().is_err_and(|failure| failure.status == 401) {
        return failed(findings);
    }
    if let Some(default) = default {
        default.ask(&request.initiate.identity);
    }
    let attempt = Attempt::new(network, request, lookup).await;
    let attempt = match default {
        Some(default) => attempt.or_device(network, default).await,
        None => attempt,
    };
    attempt.findings(network, &credential.describe(), findings).await
}

/// A request for a stream, and what helps to explain its failure.
struct Attempt {
    request: Request,
    lookup: Lookup,
    /// The default module that the device does not have.
    absent: Option<Identity>,
    opened: Result<WebSocket<Stream>>,
    phases: Phases,
    since: Instant,
    /// The hub connection at the begin of the attempt.
    first_look: Option<First>,
}

impl Attempt {
    /// Requests the stream.
    async fn new(network: &Network, request: Request, lookup: Lookup) -> Self {
        let mut phases = Phases::default();
        let since = Instant::now();
        let (opened, first_look) =
            tokio::join!(open(network, &request, None, &mut phases), first(network, &request));
        Self { request, lookup, absent: None, opened, phases, since, first_look }
    }

    /// Requests the stream of the device itself if it has no such module.
    async fn or_device(self, network: &Network, default: &DefaultModule) -> Self {
        let error = self.opened.as_ref().err();
        if !error.is_some_and(is_without_module) {
            if error.is_none_or(|error| error.phase() == Some(DEVICE)) {
                default.forget();
            }
            return self;
        }
        let Self { mut request, lookup: before, .. } = self;
        let absent = std::mem::replace(&mut request.initiate.identity, default.device().clone());
        default.ask(default.device());
        let lookup = lookup(network, &request, &mut Phases::default()).await.unwrap_or(before);
        let attempt = Self { absent: Some(absent), ..Self::new(network, request, lookup).await };
        default.note(attempt.opened.as_ref().err());
        attempt
    }

    /// Adds the findings from the credential on.
    async fn findings(self, network: &Network, credential: &str, mut findings: Vec<Finding>) -> Checked {
        let Self { request, lookup, absent, opened, phases, since, first_look } = self;
        let outcome = match &opened {
            Err(error) if explain::is_refusal(error) && lookup.twin.is_err() => {
                let reads_registry = reads_registry(network, &request).await.unwrap_or(false);
                explain::refused(error, credential, reads_registry)
            }
            Err(error) if phase(error) == HUB && lookup.twin.is_err() => Outcome::Skip,
            _ => Outcome::Pass(format!("{credential}: it may ask for streams")),
        };
        let is_refused = matches!(outcome, Outcome::Fail(..));
        let took = if is_refused { since.elapsed() } else { Duration::ZERO };
        findings.push(Finding { what: "credential".into(), outcome, took });
        if is_refused {
            return failed(findings);
        }
        let at = opened.as_ref().err().map(phase);
        // The phases of connecting to the hub already have findings.
        let from_the_hub = phases.iter().skip_while(|timing| ![HUB, DEVICE].contains(&timing.phase));
        // The failed phase gets the finding of its failure.
        for timing in from_the_hub.filter(|timing| Some(timing.phase) != at) {
            if timing.phase == DEVICE {
                let outcome = explain::accepted(&request, &lookup, absent.as_ref());
                findings.extend([Finding { outcome, ..timing.into() }, agent(&lookup)]);
            } else {
                findings.push(timing.into());
            }
        }
        if let Err(error) = &opened {
            let mut finding = failure(error, since, &phases);
            let explained = match at {
                Some(DEVICE) => explain::device(error, &request, &lookup),
                Some(HUB) => explain::without_streams(error, &request, &lookup),
                _ => None,
            };
            finding.outcome = explained.unwrap_or(finding.outcome);
            if let (Outcome::Fail(problem, ..), Some(absent)) = (&mut finding.outcome, &absent) {
                *problem += &format!("; {absent} is not registered");
            }
            findings.push(finding);
            if at == Some(DEVICE) {
                findings.push(agent(&lookup));
            }
        }
        if let Some(first) = first_look
            && at.is_none_or(|phase| phase == DEVICE)
        {
            findings.extend(watch(network, &request, first, opened.as_ref().err()).await);
        }
        match opened {
            Ok(websocket) => Checked { findings, stream: Some(websocket.into()) },
            Err(_) => failed(findings),
        }
    }
}

/// The finding of what the agent has reported.
fn agent(lookup: &Lookup) -> Finding {
    Finding { what: "agent".into(), outcome: explain::agent(lookup), took: Duration::ZERO }
}

/// The result of a failed check.
fn failed(mut findings: Vec<Finding>) -> Checked {
    skip_rest(&mut findings, &STEPS);
    Checked { findings, stream: None }
}

/// The finding of an error in a set-up that began at `since`, after the phases `done`.
fn failure(error: &Error, since: Instant, done: &Phases) -> Finding {
    let phase = phase(error);
    let finding = Finding { what: phase.name().into(), outcome: Err(error).into(), took: since.elapsed() };
    // A phase that ended with a refusal is done, and its time is known.
    let answered = done.iter().last().filter(|timing| timing.phase == phase).map(|timing| timing.took);
    let took = answered.unwrap_or(finding.took.saturating_sub(done.total()));
    Finding { took, ..finding }
}

/// The phase of an error. An [`Error::Credential`] is about the trust roots, in TLS.
fn phase(error: &Error) -> Phase {
    match error {
        Error::Credential { .. } => Phase::TLS,
        error => error.phase().unwrap_or(HUB),
    }
}
