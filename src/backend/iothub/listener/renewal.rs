//! When a hub connection is replaced by another one.

use std::time::Duration;

use tokio::time::Instant;

/// The part of a token's life after which it is renewed, as .NET and Java do [S]; and after which it is renewed though an
/// offer awaits its answer.
const RENEW_AT: f64 = 0.85;
const RENEW_BY: f64 = 0.95;

/// The longest that an offer may await its answer when the configuration changes: as long as a hub waits for one [~].
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    /// Due from now on, if no offer awaits its answer.
    pub(super) at: Instant,
    /// Due in any case.
    pub(super) by: Instant,
    /// The hub ends the connection.
    pub(super) end: Instant,
}

impl Renewal {
    /// Before a token expires that is valid for `life` from now.
    pub(super) fn within(life: Duration) -> Self {
        let now = Instant::now();
        Self { at: now + life.mul_f64(RENEW_AT), by: now + life.mul_f64(RENEW_BY), end: now + life }
    }

    /// As soon as no offer awaits its answer.
    pub(super) fn now() -> Self {
        let now = Instant::now();
        let end = now + ANSWER_LIMIT;
        Self { at: now, by: end, end }
    }

    /// When the next connection is dialled.
    pub(super) fn due(&self, is_answer_pending: bool) -> Instant {
        if is_answer_pending { self.by } else { self.at }
    }

    /// Dialling failed: tries again after `wait`.
    pub(super) fn put_off(&mut self, wait: Duration) {
        self.at = Instant::now() + wait;
        self.by = self.by.max(self.at);
    }
}
