//! The requests that wait for an approval, and the windows in which streams need none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::approver::Approval;
use super::terminal::Terminal;
use crate::agent::audit::Audit;
use crate::agent::target::Facts;
use crate::error::escape;
use crate::text::duration;

/// The most windows at a time.
const MOST_WINDOWS: usize = 256;

/// What all streams share about approvals, across changes of the configuration.
#[derive(Debug)]
pub(in crate::agent) struct Approvals {
    state: Mutex<State>,
    pub(super) terminal: Terminal,
    audit: Arc<Audit>,
    /// Whether the control socket is open.
    takes_control: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// By the number of the stream. `max-sessions` limits them.
    requests: BTreeMap<u64, (PendingRequest, oneshot::Sender<Approval>)>,
    /// By the name of the stream.
    windows: BTreeMap<String, Window>,
}

/// A request that waits for an approval.
#[derive(Clone, Debug)]
pub(in crate::agent) struct PendingRequest {
    pub(in crate::agent) stream: String,
    pub(in crate::agent) target: String,
    pub(in crate::agent) requester: Option<String>,
    /// What is asked besides the control socket: `ask` or `command`.
    pub(in crate::agent) asked: &'static str,
    pub(in crate::agent) since: Instant,
    pub(in crate::agent) until: Instant,
    window: Option<Duration>,
}

/// The time in which streams of one name need no further approval.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Window {
    pub(in crate::agent) until: Instant,
    pub(in crate::agent) approval: Approval,
    /// Where the stream led when it was approved.
    target: String,
}

impl Approvals {
    pub(in crate::agent) fn new(audit: Arc<Audit>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            terminal: Terminal::default(),
            audit,
            takes_control: AtomicBool::new(false),
        })
    }

    /// The state without the windows that have ended.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.windows.retain(|_, window| window.until > now);
        state
    }

    /// Notes whether the control socket is open.
    pub(in crate::agent) fn set_takes_control(&self, takes: bool) {
        self.takes_control.store(takes, Relaxed);
    }

    pub(super) fn takes_control(&self) -> bool {
        self.takes_control.load(Relaxed)
    }

    /// The approval of the window that a stream is in.
    pub(super) fn in_window(&self, stream: &str) -> Option<Approval> {
        let state = self.lock();
        let window = state.windows.get(stream)?;
        Some(Approval { how: "window", ..window.approval.clone() })
    }

    /// Enters a request, until the returned value is dropped.
    pub(super) fn request(
        &self,
        facts: &Facts<'_>,
        asked: &'static str,
        window: Option<Duration>,
        limit: Duration,
    ) -> Entry<'_> {
        let (approve, approved) = oneshot::channel();
        let now = Instant::now();
        let request = PendingRequest {
            stream: facts.stream.to_owned(),
            target: facts.target.clone(),
            requester: facts.requester.map(str::to_owned),
            asked,
            since: now,
            until: now + limit,
            window,
        };
        self.lock().requests.insert(facts.id, (request, approve));
        Entry { approvals: self, id: facts.id, approved }
    }

    /// Approves every pending request of `stream`, and opens a window of `length`, or as long as the target of a request
    /// says. Returns the number of requests, and the length of the window.
    ///
    /// # Errors
    /// There are too many windows; nothing is approved then.
    pub(in crate::agent) fn approve(
        &self,
        stream: &str,
        target: &str,
        length: Option<Duration>,
        approval: &Approval,
    ) -> Result<(usize, Option<Duration>), String> {
        let mut state = self.lock();
        let requests = state.requests.iter().filter(|(_, (request, _))| request.stream == stream);
        let (ids, windows): (Vec<u64>, Vec<_>) =
            requests.map(|(id, (request, _))| (*id, request.window)).unzip();
        let length = length.or(windows.into_iter().flatten().max());
        if let Some(length) = length {
            if state.windows.len() >= MOST_WINDOWS && !state.windows.contains_key(stream) {
                return Err(format!("there are {MOST_WINDOWS} approval windows already"));
            }
            let window = Window {
                until: Instant::now() + length,
                approval: approval.clone(),
                target: target.to_owned(),
            };
            state.windows.insert(stream.to_owned(), window);
        }
        for id in &ids {
            if let Some((_, approve)) = state.requests.remove(id) {
                // A request that has just been decided needs no approval.
                let _ = approve.send(approval.clone());
            }
        }
        drop(state);
        if let Some(length) = length {
            log::info!("stream '{}': approved for {} {approval}", escape(stream), duration::show(length));
            let mut fields = approval.fields();
            fields.insert("seconds".into(), length.as_secs().into());
            self.record("window", stream, fields);
        }
        Ok((ids.len(), length))
    }

    /// Ends the window of `stream`, or every window, and returns their names. `by` is who ends them.
    pub(in crate::agent) fn revoke(&self, stream: Option<&str>, by: &Approval) -> Vec<String> {
        self.end_windows(by, |name, _| stream.is_none_or(|stream| stream == name))
    }

    /// Ends the windows that `is_allowed` no longer allows, after a change of the configuration.
    pub(in crate::agent) fn keep(&self, is_allowed: impl Fn(&str, &str) -> bool) {
        self.end_windows(&Approval::configured(), |name, window| !is_allowed(name, &window.target));
    }

    fn end_windows(&self, by: &Approval, ends: impl Fn(&str, &Window) -> bool) -> Vec<String> {
        let ended: Vec<String> = self
            .lock()
            .windows
            .extract_if(.., |name, window| ends(name, window))
            .map(|(name, _)| name)
            .collect();
        for stream in &ended {
            log::info!("stream '{}': its approval window was ended {by}", escape(stream));
            self.record("revoked", stream, by.fields());
        }
        ended
    }

    fn record(&self, event: &str, stream: &str, mut fields: Map<String, Value>) {
        fields.insert("stream".into(), escape(stream).into());
        self.audit.record(event, fields);
    }

    /// The pending requests, the oldest first.
    pub(in crate::agent) fn pending(&self) -> Vec<(u64, PendingRequest)> {
        self.lock().requests.iter().map(|(id, (request, _))| (*id, request.clone())).collect()
    }

    /// The open windows, by the names of their streams.
    pub(in crate::agent) fn windows(&self) -> Vec<(String, Window)> {
        self.lock().windows.iter().map(|(name, window)| (name.clone(), window.clone())).collect()
    }
}

/// A pending request's place in the registry.
pub(super) struct Entry<'a> {
    approvals: &'a Approvals,
    id: u64,
    approved: oneshot::Receiver<Approval>,
}

impl Entry<'_> {
    /// Waits for an approval by a user. Cancel-safe.
    pub(super) async fn approved(&mut self) -> Approval {
        match (&mut self.approved).await {
            Ok(approval) => approval,
            // The entry holds the sender.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.approvals.lock().requests.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "127.0.0.1:22";

    fn facts(id: u64, stream: &str) -> Facts<'_> {
        Facts { id, ..Facts::without_offer(stream, TARGET.into()) }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_window_is_for_one_name_and_one_time() {
        let approvals = Approvals::new(Audit::open(None));
        let approval = Approval::by_user(0, Some("a ticket".into()));
        assert_eq!(approvals.approve("tcp-443", TARGET, Some(HOUR), &approval), Ok((0, Some(HOUR))));
        let found = approvals.in_window("tcp-443").unwrap();
        assert_eq!(
            (found.how, found.by, found.reason),
            ("window", approval.by.clone(), approval.reason.clone())
        );
        assert!(approvals.in_window("tcp-80").is_none());
        tokio::time::advance(HOUR).await;
        assert!(approvals.in_window("tcp-443").is_none());
        assert!(approvals.windows().is_empty());
    }

    #[tokio::test]
    async fn one_approval_answers_all_requests_of_the_name() {
        let approvals = Approvals::new(Audit::open(None));
        let approval = Approval::by_user(0, None);
        let mut first = approvals.request(&facts(1, "ssh"), "ask", None, HOUR);
        let mut second = approvals.request(&facts(2, "ssh"), "ask", Some(HOUR), HOUR);
        let other = approvals.request(&facts(3, "tcp-80"), "ask", None, HOUR);
        assert_eq!(approvals.approve("ssh", TARGET, None, &approval), Ok((2, Some(HOUR))));
        assert_eq!((first.approved().await, second.approved().await), (approval.clone(), approval.clone()));
        assert_eq!(approvals.pending().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3]);
        drop(other);
        assert!(approvals.pending().is_empty());
    }

    #[tokio::test]
    async fn windows_are_limited_revoked_and_end_with_their_target() {
        let approvals = Approvals::new(Audit::open(None));
        let approval = Approval::by_user(0, None);
        let open = |name: &str| approvals.approve(name, TARGET, Some(HOUR), &approval);
        for index in 0..MOST_WINDOWS {
            open(&format!("tcp-{index}")).unwrap();
        }
        assert!(open("ssh").is_err());
        open("tcp-0").unwrap();
        assert_eq!(approvals.revoke(Some("tcp-1"), &approval), ["tcp-1"]);
        open("ssh").unwrap();
        approvals.keep(|name, found| name != "ssh" && found == TARGET);
        assert_eq!(approvals.windows().len(), MOST_WINDOWS - 1);
        approvals.keep(|_, found| found != TARGET);
        assert!(approvals.windows().is_empty());
    }
}
