//! The live streams of the agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::approval::Approve;
use super::target::Target;
use crate::tunnel::Meter;

/// All live streams, and the bytes of those that have ended.
#[derive(Debug, Default)]
pub(super) struct LiveStreams(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By their numbers in the audit log. `max-sessions` limits them.
    live: BTreeMap<u64, LiveStream>,
    ended: BytesByTarget,
}

/// The bytes to and from users, by the configured names of targets.
pub(super) type BytesByTarget = BTreeMap<String, (u64, u64)>;

/// A live stream.
#[derive(Clone, Debug)]
pub(super) struct LiveStream {
    pub(super) stream: String,
    pub(super) target: String,
    /// The target's name among those of the configuration.
    target_name: String,
    pub(super) requester: Option<String>,
    /// Whether the target asks for approval.
    pub(super) is_approved: bool,
    pub(super) since: Instant,
    pub(super) meter: Arc<Meter>,
    cut: watch::Sender<Option<String>>,
}

impl LiveStream {
    /// A stream to `target` at `address` that starts now.
    pub(super) fn new(
        stream: &str,
        target: &Target,
        address: &str,
        requester: Option<&str>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            stream: stream.to_owned(),
            target: address.to_owned(),
            target_name: target.name(),
            requester: requester.map(str::to_owned),
            is_approved: target.approve != Approve::Always,
            since: Instant::now(),
            meter,
            cut: watch::Sender::new(None),
        }
    }

    fn add_to(&self, bytes: &mut BytesByTarget) {
        let (to_user, from_user) = bytes.entry(self.target_name.clone()).or_default();
        *to_user += self.meter.sent();
        *from_user += self.meter.received();
    }
}

impl LiveStreams {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stream, until the returned value is dropped.
    pub(super) fn enter(&self, id: u64, live: LiveStream) -> Entry<'_> {
        let cut = live.cut.subscribe();
        self.lock().live.insert(id, live);
        Entry { streams: self, id, cut }
    }

    /// The live streams, the oldest first.
    pub(super) fn all(&self) -> Vec<(u64, LiveStream)> {
        self.lock().live.iter().map(|(id, live)| (*id, live.clone())).collect()
    }

    /// The number of live streams, and the bytes of all streams since the agent's start.
    pub(super) fn totals(&self) -> (usize, BytesByTarget) {
        let state = self.lock();
        let mut bytes = state.ended.clone();
        state.live.values().for_each(|live| live.add_to(&mut bytes));
        (state.live.len(), bytes)
    }

    /// Ends the streams that `is_meant` chooses, and returns their number. `why` goes to the user and the logs.
    pub(super) fn cut(&self, is_meant: impl Fn(&LiveStream) -> bool, why: &str) -> usize {
        let state = self.lock();
        let meant = state.live.values().filter(|live| is_meant(live));
        meant.inspect(|live| drop(live.cut.send_replace(Some(why.to_owned())))).count()
    }
}

/// A live stream's place among the others.
pub(super) struct Entry<'a> {
    streams: &'a LiveStreams,
    id: u64,
    cut: watch::Receiver<Option<String>>,
}

impl Entry<'_> {
    /// Waits until the stream must end, and returns why. Cancel-safe.
    pub(super) async fn is_cut(&self) -> String {
        // The entry holds the sender.
        let mut cut = self.cut.clone();
        let why = cut.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        if let Some(live) = state.live.remove(&self.id) {
            live.add_to(&mut state.ended);
        }
    }
}
