//! The live streams of the agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::tunnel::Meter;

/// All live streams, by their numbers in the audit log. `max-sessions` limits them.
#[derive(Debug, Default)]
pub(super) struct LiveStreams(Mutex<BTreeMap<u64, LiveStream>>);

/// A live stream.
#[derive(Clone, Debug)]
pub(super) struct LiveStream {
    pub(super) stream: String,
    pub(super) target: String,
    pub(super) requester: Option<String>,
    /// Whether the target asks for approval.
    pub(super) is_approved: bool,
    pub(super) since: Instant,
    pub(super) meter: Arc<Meter>,
    cut: watch::Sender<Option<String>>,
}

impl LiveStream {
    pub(super) fn new(
        stream: String,
        target: String,
        requester: Option<String>,
        is_approved: bool,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            stream,
            target,
            requester,
            is_approved,
            since: Instant::now(),
            meter,
            cut: watch::Sender::new(None),
        }
    }
}

impl LiveStreams {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, LiveStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stream, until the returned value is dropped.
    pub(super) fn enter(&self, id: u64, live: LiveStream) -> Entry<'_> {
        let cut = live.cut.subscribe();
        self.lock().insert(id, live);
        Entry { streams: self, id, cut }
    }

    /// The live streams, the oldest first.
    pub(super) fn all(&self) -> Vec<(u64, LiveStream)> {
        self.lock().iter().map(|(id, live)| (*id, live.clone())).collect()
    }

    /// Ends the streams that `is_meant` chooses, and returns their number. `why` goes to the user and the logs.
    pub(super) fn cut(&self, is_meant: impl Fn(&LiveStream) -> bool, why: &str) -> usize {
        let streams = self.lock();
        let meant = streams.values().filter(|live| is_meant(live));
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
        self.streams.lock().remove(&self.id);
    }
}
