//! Limits how many rejected offers are logged.

use std::time::Duration;

use tokio::time::Instant;

/// The time in which a certain number of rejections are logged.
const PERIOD: Duration = Duration::from_secs(10);

/// Offers that are rejected without a decision. Logging each would fill a disk as fast as the hub can send.
pub(super) struct RejectionLog {
    /// How many are logged in a period.
    burst: u32,
    logged: u32,
    since: Instant,
    /// Since the last one that was logged.
    unlogged: u64,
}

impl RejectionLog {
    pub(super) fn new(burst: u32) -> Self {
        Self { burst, logged: 0, since: Instant::now(), unlogged: 0 }
    }

    /// Counts a rejection. If it is to be logged, returns how many there were since the last one that was.
    pub(super) fn rejected(&mut self) -> Option<u64> {
        if self.since.elapsed() >= PERIOD {
            (self.logged, self.since) = (0, Instant::now());
        }
        self.unlogged += 1;
        if self.logged == self.burst {
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}
