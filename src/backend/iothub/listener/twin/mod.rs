//! Reports to the device's twin, over whichever hub connection is in service.
//!
//! The twin is read once, and only what differs is written, because the hub meters each request as a message \[D]. No
//! request delays an offer, and the twin of a hub that has none costs at most one hub connection in an hour.

use std::sync::Arc;
use std::time::Duration;

use log::Level;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::credential::DeviceCredential;
use super::hub_connection::TwinReply;
use crate::backend::iothub::proto::{
    Change, HubAddress, HubFailure, Identity, TwinAnswer, TwinRequest, host_keys,
};
use crate::backend::{Report, Reports};
use crate::text::duration;
use crate::time::backoff::{Backoff, chance};

/// The time that a report waits for the next one: at a start, the targets tell their host keys one after the other.
const GATHERING: Duration = Duration::from_millis(500);

/// The time limit of a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The first and the longest interval of the pauses after a failed request.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The same after a second hub connection that ended during a request: a hub that ends them has no twins. The first of these
/// pauses is at least an hour.
const FIRST_LONG_PAUSE: Duration = Duration::from_secs(2 * 3600);
const LONGEST_LONG_PAUSE: Duration = Duration::from_secs(48 * 3600);

/// The parts of a report that a log line names.
const NAMED: usize = 5;

/// The twin, and what is still to be reported to it.
#[derive(Debug)]
pub(super) struct Twin {
    reports: Reports,
    report: Option<Arc<Report>>,
    /// Whether the report is written, or refused.
    is_done: bool,
    /// Whose twin it is.
    owner: Option<(HubAddress, Identity)>,
    /// The reported properties, unless the last request may have changed them.
    known: Option<Value>,
    /// Whether the hub connection is subscribed to answers.
    is_subscribed: bool,
    open: Option<Open>,
    last_id: u32,
    not_before: Option<Instant>,
    pauses: Backoff,
    long_pauses: Backoff,
    /// Whether a hub connection has ended during a request since the last success.
    is_suspect: bool,
    /// What the log says that the twin cannot hold.
    left_out: Vec<String>,
}

/// An open request, and its time limit.
#[derive(Debug)]
struct Open {
    by: Instant,
    request: Request,
}

#[derive(Debug)]
enum Request {
    Subscription,
    Get {
        id: u32,
    },
    /// Writes a patch, with which the reported properties become `after`.
    Report {
        id: u32,
        after: Value,
    },
}

/// A packet to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A subscription to answers.
    Subscribe,
    /// A request, and its id.
    Request(TwinRequest, u32),
}

impl Twin {
    pub(super) fn new(reports: Reports) -> Self {
        Self {
            reports,
            report: None,
            is_done: false,
            owner: None,
            known: None,
            is_subscribed: false,
            open: None,
            last_id: 0,
            not_before: None,
            pauses: Backoff::beginning_with(FIRST_PAUSE),
            long_pauses: Backoff::beginning_with(FIRST_LONG_PAUSE),
            is_suspect: false,
            left_out: Vec::new(),
        }
    }

    /// Records that the next hub connection may be that of another twin.
    pub(super) fn forget(&mut self) {
        self.owner = None;
    }

    /// Begins with a new hub connection. A request that is open is made again.
    pub(super) fn connected(&mut self, credential: &DeviceCredential) {
        self.close();
        self.is_subscribed = false;
        let owner = Some((credential.hub.clone(), credential.identity.clone()));
        if self.owner != owner {
            (self.owner, self.known, self.not_before, self.is_done) = (owner, None, None, false);
            self.reset_pauses();
        }
    }

    /// Records that the hub connection failed. Returns whether a request may be the cause: one was open.
    pub(super) fn disconnected(&mut self) -> bool {
        let was_open = self.close().is_some();
        if was_open {
            let pause = if std::mem::replace(&mut self.is_suspect, true) {
                self.long_pauses.wait(LONGEST_LONG_PAUSE, chance())
            } else {
                self.pauses.wait(LONGEST_PAUSE, chance())
            };
            self.not_before = Some(Instant::now() + pause);
            let pause = duration::show(Duration::from_secs(pause.as_secs()));
            log::warn!("{self}: the hub connection ended during a request; the next request is in {pause}");
        }
        was_open
    }

    /// Waits until there is a packet to send. The request is then open.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let now = Instant::now();
            if self.open.as_ref().is_some_and(|open| open.by <= now) {
                self.failed(&format!("no answer within {} s", ANSWER_LIMIT.as_secs()));
            }
            if let Some(step) = self.step(now) {
                return step;
            }
            let due = match &self.open {
                Some(open) => Some(open.by),
                None => self.not_before.filter(|_| self.report.is_some() && !self.is_done),
            };
            tokio::select! {
                report = self.reports.next() => if self.report.as_ref() != Some(&report) {
                    (self.report, self.is_done) = (Some(report), false);
                    let gathered = Instant::now() + GATHERING;
                    self.not_before = Some(self.not_before.map_or(gathered, |at| at.max(gathered)));
                },
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }

    /// Opens the next request, if there is something to ask and it is time for it.
    fn step(&mut self, now: Instant) -> Option<Step> {
        let report = self.report.clone().filter(|_| !self.is_done && self.open.is_none())?;
        if self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        let change = self.known.as_ref().map(|known| Change::new(known, &report, env!("CARGO_PKG_VERSION")));
        if let Some(change) = &change {
            self.log_left_out(&change.left_out);
            if change.patch.is_none() {
                self.is_done = true;
                log::debug!("{self}: up to date");
                return None;
            }
        }
        let id = self.last_id.wrapping_add(1);
        let (doing, request, step) = match change {
            _ if !self.is_subscribed => ("subscribing", Request::Subscription, Step::Subscribe),
            Some(Change { patch: Some(patch), after, .. }) => {
                ("writing", Request::Report { id, after }, Step::Request(TwinRequest::Report(patch), id))
            }
            _ => ("reading", Request::Get { id }, Step::Request(TwinRequest::Get, id)),
        };
        log::debug!("{self}: {doing}");
        self.last_id = id;
        self.open = Some(Open { by: now + ANSWER_LIMIT, request });
        Some(step)
    }

    /// Takes the hub's reply. One to a request that is not open any more is ignored.
    pub(super) fn receive(&mut self, reply: TwinReply) {
        match (reply, self.open.as_ref().map(|open| &open.request)) {
            (TwinReply::Subscription(is_granted), open) => {
                let is_open = matches!(open, Some(Request::Subscription));
                self.is_subscribed = is_granted;
                if is_open && is_granted {
                    self.close();
                } else if is_open {
                    self.refused("no subscription to the answers, as in the Basic tier");
                }
            }
            (TwinReply::Answer(answer), Some(Request::Get { id } | Request::Report { id, .. }))
                if answer.id == *id =>
            {
                self.answered(&answer);
            }
            (TwinReply::Answer(_), _) => log::debug!("{self}: an answer to no open request is ignored"),
        }
    }

    fn answered(&mut self, answer: &TwinAnswer) {
        let before = self.known.as_ref().map(host_keys);
        match answer.status {
            200 | 204 => match self.close() {
                Some(Request::Get { .. }) => match answer.reported() {
                    Some(reported) => self.succeeded(reported),
                    None => self.refused("the answer is no twin"),
                },
                Some(Request::Report { after, .. }) => {
                    let keys = host_keys(&after);
                    let level = if before.as_ref() == Some(&keys) { Level::Debug } else { Level::Info };
                    log::log!(level, "reported {keys}");
                    self.succeeded(after);
                }
                _ => {}
            },
            429 | 500..=599 => self.failed(&in_words(answer)),
            _ => self.refused(&in_words(answer)),
        }
    }

    fn succeeded(&mut self, reported: Value) {
        self.known = Some(reported);
        self.not_before = None;
        self.reset_pauses();
    }

    fn reset_pauses(&mut self) {
        self.pauses.reset();
        self.long_pauses.reset();
        self.is_suspect = false;
    }

    /// Tries again after a pause.
    fn failed(&mut self, problem: &str) {
        self.close();
        let pause = self.pauses.wait(LONGEST_PAUSE, chance());
        self.not_before = Some(Instant::now() + pause);
        log::warn!("{self}: {problem}; trying again in {} s", pause.as_secs());
    }

    /// Waits for another report.
    fn refused(&mut self, problem: &str) {
        self.close();
        self.is_done = true;
        log::warn!("{self}: {problem}; the host keys are not reported");
    }

    /// Ends the open request. Unless it succeeds, nobody knows whether a patch is written.
    fn close(&mut self) -> Option<Request> {
        let request = self.open.take()?.request;
        if matches!(request, Request::Report { .. }) {
            self.known = None;
        }
        Some(request)
    }

    fn log_left_out(&mut self, left_out: &[String]) {
        if self.left_out != left_out {
            self.left_out = left_out.to_vec();
            let named = left_out.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            match left_out.len() {
                0 => {}
                count @ ..=NAMED => log::warn!("{self}: no room for {count} parts of the report: {named}"),
                count => log::warn!("{self}: no room for {count} parts of the report: {named}, …"),
            }
        }
    }
}

/// The twin in log lines.
impl std::fmt::Display for Twin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.owner {
            Some((hub, identity)) => write!(f, "the twin of {identity} at {hub}"),
            None => f.write_str("the twin"),
        }
    }
}

/// A hub's error.
fn in_words(answer: &TwinAnswer) -> String {
    let failure = HubFailure::of(answer.status, &hyper::HeaderMap::new(), &answer.body);
    match failure.message {
        Some(message) => format!("the hub answers with {}: {message}", answer.status),
        None => format!("the hub answers with {}", answer.status),
    }
}

#[cfg(test)]
mod tests;
