//! How long to wait before the hub is tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::iothub::phase::HUB;
use crate::error::Error;
use crate::time::backoff::{Backoff, chance};

/// The longest wait for a hub that cannot be reached: one that restarts is found within five seconds. The same where a
/// hub connection ended or was refused, within `NEW` of the last good one.
const QUICK_WAIT: Duration = Duration::from_secs(3);
const NEW: Duration = Duration::from_secs(5 * 60);

/// The longest wait where the hub can be reached and refuses the device.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that a hub can ask for: it must not put a device out of reach for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);

/// The failures since the last hub connection that was a good one.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    /// When a hub connection was good for the last time, or the listener started.
    good: Instant,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::default(), good: Instant::now() }
    }

    /// A hub connection is a good one: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
        self.good = Instant::now();
    }

    /// How long to wait after a failure.
    pub(super) fn wait_after(&mut self, error: &Error) -> Duration {
        let is_away = match error {
            // In this phase the hub was there, and ended the connection.
            Error::Network { phase, .. } => *phase != HUB,
            error => matches!(error, Error::Timeout { .. }),
        };
        let is_quick = is_away || self.good.elapsed() < NEW;
        let wait = self.backoff.wait(if is_quick { QUICK_WAIT } else { LONGEST_WAIT }, chance());
        wait.max(error.retry_after().unwrap_or_default().min(LONGEST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::error::{Error as HubError, Upgrade};
    use crate::time::phase::Phase;

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_is_away_is_tried_often_and_one_that_refuses_ever_less() {
        let mut retry = Retry::new();
        let away = || Error::network(Phase::TCP, "hub", "refused");
        let cut = || Error::network(HUB, "hub", "cut");
        let refused = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Error::from(HubError::WebSocket(Upgrade { server: "hub".into(), status: 503, retry_after }))
        };
        // However often it is restarted.
        assert!((0..50).all(|_| retry.wait_after(&cut()) <= QUICK_WAIT));
        assert_eq!(retry.wait_after(&refused(20)).as_secs(), 20);
        assert_eq!(retry.wait_after(&refused(1 << 32)), LONGEST_ASKED);
        tokio::time::advance(NEW).await;
        assert!((0..50).all(|_| retry.wait_after(&away()) <= QUICK_WAIT));
        // Another agent with the same identity.
        let longest = (0..9).map(|_| retry.wait_after(&cut())).last().unwrap();
        assert!(longest >= LONGEST_WAIT / 2, "{longest:?}");
        retry.reset();
        assert!(retry.wait_after(&cut()) < Duration::from_secs(1));
    }
}
