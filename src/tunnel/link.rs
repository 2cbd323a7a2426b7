//! What the two pumps of a bridge tell each other, and how long the peer has been silent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// After a hang-up: how long the local side may take to reach its end, and how long the peer may take to close.
pub(super) const HANGUP: Duration = Duration::from_millis(250);

/// What the pumps tell each other.
#[derive(Default)]
pub(super) struct Link {
    orders: Mutex<Orders>,
    /// Wakes the upward pump.
    pub(super) attention: Notify,
    /// Wakes the downward pump once it may linger only.
    pub(super) upward_ended: Notify,
}

#[derive(Default)]
pub(super) struct Orders {
    pub(super) ping: bool,
    /// The last ping's payload: only the last one needs an answer (RFC 6455, 5.5.3).
    pub(super) pong: Option<Vec<u8>>,
    /// The upward pump ends once the local side has ended, or has been silent for this long.
    pub(super) drain: Option<Duration>,
    /// The upward pump has ended: the downward one does once the peer has, or has been silent for this long.
    pub(super) linger: Option<Duration>,
    pub(super) hung_up: bool,
    /// When something was last heard of the peer; `None` while nobody listens, for the local side is stalled.
    pub(super) heard: Option<Instant>,
}

impl Link {
    pub(super) fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock());
        self.attention.notify_one();
    }

    pub(super) fn linger(&self, patience: Duration) {
        let mut orders = self.lock();
        orders.linger = Some(if orders.hung_up { patience.min(HANGUP) } else { patience });
        self.upward_ended.notify_one();
    }

    pub(super) fn hang_up(&self) {
        self.order(|orders| {
            orders.hung_up = true;
            orders.drain = Some(HANGUP / 2);
            orders.linger = orders.linger.map(|patience| patience.min(HANGUP));
        });
    }

    pub(super) fn is_hung_up(&self) -> bool {
        self.lock().hung_up
    }

    pub(super) fn heard(&self, when: Option<Instant>) {
        self.lock().heard = when;
    }
}

/// Resolves once the peer is dead: pinged after `keepalive` of silence, given up before two of them.
pub(super) async fn silence(link: &Link, keepalive: Duration) -> Duration {
    if keepalive.is_zero() {
        return std::future::pending().await;
    }
    let patience = keepalive * 7 / 4;
    let mut pinged = None;
    loop {
        let heard = link.lock().heard;
        let now = Instant::now();
        let Some(heard) = heard else {
            // Nobody listens while the local side is stalled: silence means nothing then.
            sleep_until(now + keepalive / 4).await;
            continue;
        };
        if now >= heard + patience && pinged == Some(heard) {
            return now - heard;
        }
        if now >= heard + keepalive && pinged != Some(heard) {
            pinged = Some(heard);
            link.order(|orders| orders.ping = true);
        }
        let next = if pinged == Some(heard) {
            (heard + patience).max(now + keepalive / 8)
        } else {
            heard + keepalive
        };
        sleep_until(next).await;
    }
}
