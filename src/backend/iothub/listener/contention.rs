//! Notices that another client logs in with the same identity: a hub keeps one hub connection of an identity, and ends the
//! first at the login of the second \[D].
//!
//! Over MQTT 3.1.1 the hub says nothing: the connection just ends \[S]. So the evidence is that it ends soon after the
//! login, again and again, while the hub can be reached.

use std::time::Duration;

/// A hub connection that the hub ends sooner counts. The SDKs of Microsoft log in again after some seconds, up to 30 \[S].
const SOON: Duration = Duration::from_secs(60);

/// The count in a row at which another client is assumed.
const TIMES: u32 = 3;

/// A hub connection that lasts this long shows that the other client has gone.
const CALM: Duration = Duration::from_secs(5 * 60);

/// The hub connections in a row that the hub has ended soon after their login.
#[derive(Debug, Default)]
pub(super) struct Contention(u32);

impl Contention {
    /// Records a hub connection that the hub has ended after it `lasted` this long.
    pub(super) fn ended_by_hub(&mut self, lasted: Duration) {
        let is_soon = lasted < if self.is_noticed() { CALM } else { SOON };
        self.0 = if is_soon { self.0.saturating_add(1) } else { 0 };
    }

    /// Records that there was another cause for the end of a hub connection, or that none came about.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }

    /// Whether another client is assumed.
    pub(super) fn is_noticed(&self) -> bool {
        self.0 >= TIMES
    }

    /// The hub connections in a row that the hub has ended.
    pub(super) fn times(&self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_short_hub_connections_in_a_row_are_noticed() {
        let mut contention = Contention::default();
        for (lasted, is_noticed) in
            [(3600, false), (10, false), (10, false), (59, true), (61, true), (200, true)]
        {
            contention.ended_by_hub(Duration::from_secs(lasted));
            assert_eq!(contention.is_noticed(), is_noticed, "{lasted}");
        }
        assert_eq!(contention.times(), 5);
        contention.ended_by_hub(CALM);
        assert!(!contention.is_noticed());
    }

    #[test]
    fn a_hub_that_is_away_between_them_is_another_cause() {
        let mut contention = Contention::default();
        for _ in 0..20 {
            contention.ended_by_hub(Duration::from_secs(1));
            contention.ended_by_hub(Duration::from_secs(1));
            contention.reset();
            assert!(!contention.is_noticed());
        }
    }
}
