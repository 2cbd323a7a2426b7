//! The times at which a hub connection is renewed.

use std::time::Duration;

use tokio::time::Instant;

/// The part of a token's life after which it is renewed, as in .NET and Java \[S], and after which it is renewed even with
/// an open offer.
const RENEW_AT: f64 = 0.85;
const RENEW_BY: f64 = 0.95;

/// How long open offers may delay a change of the configuration: as long as a hub waits for an answer \[~].
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// When to renew a hub connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    /// When it is due without open offers.
    pub(super) at: Instant,
    /// When it is due with open offers.
    pub(super) by: Instant,
    /// When the hub ends the connection.
    pub(super) end: Instant,
}

impl Renewal {
    /// Before a token with this remaining `life` expires.
    pub(super) fn within(life: Duration) -> Self {
        let now = Instant::now();
        Self { at: now + life.mul_f64(RENEW_AT), by: now + life.mul_f64(RENEW_BY), end: now + life }
    }

    /// Now, or when no offer is open.
    pub(super) fn now() -> Self {
        let now = Instant::now();
        let end = now + ANSWER_LIMIT;
        Self { at: now, by: end, end }
    }

    /// When to dial the next connection.
    pub(super) fn due(&self, is_answer_pending: bool) -> Instant {
        if is_answer_pending { self.by } else { self.at }
    }

    /// Retries after `wait`.
    pub(super) fn put_off(&mut self, wait: Duration) {
        self.at = Instant::now() + wait;
        self.by = self.by.max(self.at);
    }
}
