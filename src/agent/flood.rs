//! Offers that come faster than it is worth to tell of each.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is told that offers are rejected at once.
const FLOOD_NOTICE: Duration = Duration::from_secs(10);

/// Offers that were rejected at once. A line for each would fill a disk as fast as the hub can send.
pub(super) struct Flood {
    /// How many are told of singly.
    at_once: u32,
    told: u32,
    since: Instant,
    untold: u64,
}

impl Flood {
    pub(super) fn new(at_once: u32) -> Self {
        Self { at_once, told: 0, since: Instant::now(), untold: 0 }
    }

    /// Counts one more, and gives how many there were if they are to be told of now.
    pub(super) fn rejected(&mut self) -> Option<u64> {
        if self.since.elapsed() >= FLOOD_NOTICE {
            (self.told, self.since) = (0, Instant::now());
        }
        self.untold += 1;
        if self.told == self.at_once {
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}
