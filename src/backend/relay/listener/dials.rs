//! Dials in the background, bounded in number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

/// The dials at a time, and with those that wait. A service can ask for them faster than they can be made.
const AT_ONCE: usize = 16;
const ALL: usize = 64;

/// The time limit of one dial with all that follows.
const LIMIT: Duration = Duration::from_secs(30);

/// Dials that nothing waits for but the end of the listener.
#[derive(Clone, Debug)]
pub(super) struct Dials {
    all: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
    open: mpsc::Sender<Infallible>,
    over: watch::Receiver<()>,
}

/// The listener's end: waits until no clone of [`Dials`] is left. Dropping it withdraws offers that are still open.
#[derive(Debug)]
pub(super) struct AllDone {
    closed: mpsc::Receiver<Infallible>,
    _over: watch::Sender<()>,
}

impl Dials {
    pub(super) fn new() -> (Self, AllDone) {
        let (open, closed) = mpsc::channel(1);
        let (end, over) = watch::channel(());
        let dials = Self {
            all: Arc::new(Semaphore::new(ALL)),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            open,
            over,
        };
        (dials, AllDone { closed, _over: end })
    }

    /// Runs `dial` in its own task, after those before it. Returns false if too many wait.
    pub(super) fn spawn(&self, dial: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(room) = self.all.clone().try_acquire_owned() else { return false };
        let (at_once, open) = (self.at_once.clone(), self.open.clone());
        tokio::spawn(async move {
            // Never closed.
            let _turn = at_once.acquire().await;
            if timeout(LIMIT, dial).await.is_err() {
                log::debug!("a dial in the background is given up");
            }
            drop((room, open));
        });
        true
    }

    /// Resolves at the end of the listener. Cancel-safe.
    pub(super) async fn over(&self) {
        // Nothing is ever sent.
        let _ = self.over.clone().changed().await;
    }
}

impl AllDone {
    /// Waits until all dials are done. Cancel-safe.
    pub(super) async fn wait(&mut self) {
        // Nothing is ever sent.
        let _ = self.closed.recv().await;
    }
}
