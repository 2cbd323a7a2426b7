//! One question for one start: the tries of a caller's start share their id, and the newest gets the one decision.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::rendezvous::Rendezvous;
use crate::backend::{Cause, Rejection};

/// How long a decision counts for further tries.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The decisions that are remembered. The oldest is forgotten first, and its start is asked about again.
const MOST: usize = 128;

/// The streams beyond the first that one approval opens: a caller may not learn that its first one was open.
const SPARE: u32 = 2;

/// The longest id that is recognised, in bytes.
const LONGEST_ID: usize = 128;

/// A start of a caller: its id, the stream and the device it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Start(String, String, String);

impl Start {
    /// The start that a try with this tracking id is of; `None` without an id. The service appends the names of its nodes to
    /// the caller's id, as `ID_G0_G1` \[D].
    pub(super) fn of(tracking_id: &str, stream: &str, device: &str) -> Option<Self> {
        let id = tracking_id.split('_').next().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
        Some(Self(id.to_ascii_lowercase(), stream.to_owned(), device.to_lowercase()))
    }
}

/// The starts that are being decided or have just been.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// As many as the agent has open offers.
    open: HashMap<Start, watch::Sender<Rendezvous>>,
    decided: VecDeque<Decided>,
}

#[derive(Debug)]
struct Decided {
    start: Start,
    at: Instant,
    decision: Decision,
}

#[derive(Clone, Debug)]
enum Decision {
    /// Approved, for this many more streams.
    Approved(u32),
    Rejected(Rejection),
}

/// What to do with a try.
#[derive(Debug)]
pub(super) enum Try {
    /// Ask about it.
    New(OpenStart),
    /// It was approved: do not ask again.
    Approved(OpenStart),
    /// It was rejected.
    Rejected(Rejection, Rendezvous),
    /// The start is open, and this try has replaced the previous one.
    Replaced,
}

impl Starts {
    /// Decides what to do with a try of `start` at `rendezvous`.
    pub(super) fn begin(&self, start: Option<Start>, rendezvous: Rendezvous) -> Try {
        let Some(start) = start else { return Try::New(OpenStart::new(self, None, rendezvous).0) };
        let mut state = self.lock();
        if let Some(newest) = state.open.get(&start) {
            newest.send_replace(rendezvous);
            return Try::Replaced;
        }
        state.decided.retain(|decided| decided.at.elapsed() < REMEMBERED);
        let known = state.decided.iter_mut().find(|decided| decided.start == start);
        let is_approved = match known.map(|decided| &mut decided.decision) {
            Some(Decision::Rejected(rejection)) => return Try::Rejected(rejection.clone(), rendezvous),
            Some(Decision::Approved(more @ 1..)) => {
                *more -= 1;
                true
            }
            Some(Decision::Approved(0)) | None => false,
        };
        let (open, newest) = OpenStart::new(self, Some(start.clone()), rendezvous);
        state.open.insert(start, newest);
        if is_approved { Try::Approved(open) } else { Try::New(open) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn decide(&mut self, start: &Start, decision: Decision) {
        if self.decided.iter().any(|decided| decided.start == *start) {
            return;
        }
        if self.decided.len() == MOST {
            self.decided.pop_front();
        }
        self.decided.push_back(Decided { start: start.clone(), at: Instant::now(), decision });
    }
}

/// A start that is being decided. Dropping it ends that, and a further try is a new offer.
#[derive(Debug)]
pub(super) struct OpenStart {
    starts: Starts,
    start: Option<Start>,
    newest: watch::Receiver<Rendezvous>,
}

impl OpenStart {
    fn new(
        starts: &Starts,
        start: Option<Start>,
        rendezvous: Rendezvous,
    ) -> (Self, watch::Sender<Rendezvous>) {
        let (sender, newest) = watch::channel(rendezvous);
        (Self { starts: starts.clone(), start, newest }, sender)
    }

    /// The newest try.
    pub(super) fn newest(&mut self) -> Rendezvous {
        self.newest.borrow_and_update().clone()
    }

    /// When the newest try arrived.
    pub(super) fn arrived(&self) -> Instant {
        self.newest.borrow().arrived
    }

    /// Waits for a newer try than the last that was taken; false if there is none within `limit`. Cancel-safe.
    pub(super) async fn newer(&mut self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, self.newest.changed()).await, Ok(Ok(())))
    }

    /// Records that the start was approved and its stream is open.
    pub(super) fn approve(&self) {
        self.decide(Decision::Approved(SPARE));
    }

    /// Ends the start with a rejection, which counts for further tries if it is a decision about all of them. Returns the
    /// newest try.
    pub(super) fn reject(mut self, rejection: &Rejection) -> Rendezvous {
        if rejection.cause == Cause::Approval {
            self.decide(Decision::Rejected(rejection.clone()));
        }
        self.close();
        self.newest()
    }

    /// Lets a further try be a new offer.
    fn close(&mut self) {
        if let Some(start) = self.start.take() {
            self.starts.lock().open.remove(&start);
        }
    }

    fn decide(&self, decision: Decision) {
        if let Some(start) = &self.start {
            self.starts.lock().decide(start, decision);
        }
    }
}

impl Drop for OpenStart {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::WssUrl;

    fn at(gateway: &str) -> Rendezvous {
        Rendezvous::of_request(WssUrl::parse(&format!("wss://{gateway}/x?secret")).unwrap())
    }

    fn start(id: &str) -> Option<Start> {
        Start::of(id, "ssh", "")
    }

    /// The gateway of the newest try.
    fn newest(open: &mut OpenStart) -> String {
        format!("{:?}", open.newest())
    }

    #[test]
    fn the_service_s_suffix_is_not_part_of_the_id() {
        assert_eq!(start("A-b_G0_G1"), start("a-b"));
        assert_ne!(start("a"), Start::of("a", "tcp-80", ""));
        assert_ne!(start("a"), Start::of("a", "ssh", "gw"));
        assert_eq!(start(""), None);
        assert_eq!(start(&"x".repeat(LONGEST_ID + 1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_try_gets_the_decision() {
        let starts = Starts::default();
        let Try::New(mut open) = starts.begin(start("a"), at("g0")) else { panic!("not new") };
        assert!(newest(&mut open).contains("g0"));
        assert!(!open.newer(Duration::from_secs(1)).await);
        assert!(matches!(starts.begin(start("a"), at("g1")), Try::Replaced));
        assert!(open.newer(Duration::from_secs(1)).await && newest(&mut open).contains("g1"));
        assert!(format!("{:?}", open.reject(&Rejection::new(Cause::Approval, "no"))).contains("g1"));
        // The same answer for a minute.
        for _ in 0..2 {
            tokio::time::advance(REMEMBERED / 3).await;
            match starts.begin(start("a"), at("g2")) {
                Try::Rejected(rejection, rendezvous) => {
                    assert_eq!(rejection.reason, "no");
                    assert!(format!("{rendezvous:?}").contains("g2"));
                }
                other => panic!("{other:?}"),
            }
        }
        tokio::time::advance(REMEMBERED / 3).await;
        assert!(matches!(starts.begin(start("a"), at("g3")), Try::New(_)));
    }

    #[test]
    fn an_approval_opens_few_more_streams() {
        let starts = Starts::default();
        let Try::New(open) = starts.begin(start("a"), at("g0")) else { panic!("not new") };
        open.approve();
        drop(open);
        for _ in 0..SPARE {
            let Try::Approved(open) = starts.begin(start("a"), at("g1")) else { panic!("not approved") };
            open.approve();
        }
        assert!(matches!(starts.begin(start("a"), at("g2")), Try::New(_)));
    }

    #[test]
    fn only_a_decision_is_remembered() {
        let starts = Starts::default();
        for cause in [Cause::Limit, Cause::Target] {
            let Try::New(open) = starts.begin(start("a"), at("g0")) else { panic!("not new") };
            open.reject(&Rejection::new(cause, "full"));
        }
        for id in 0..3 * MOST {
            let Try::New(open) = starts.begin(start(&id.to_string()), at("g0")) else { panic!("not new") };
            open.reject(&Rejection::new(Cause::Approval, "no"));
        }
        let state = starts.lock();
        assert_eq!((state.open.len(), state.decided.len()), (0, MOST));
    }
}
