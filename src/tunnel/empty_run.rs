//! Runs of empty messages. Microsoft's C# proxies, and others derived from them, send the result of each socket read
//! without checking its length. When the socket has ended, they send empty messages endlessly and never close \[S]\[M].

use std::time::Duration;

use tokio::time::Instant;

/// This many empty messages within this time, without data in between, are the peer's end. A peer may send single ones as
/// a keepalive.
const MESSAGES: u32 = 100;
const WITHIN: Duration = Duration::from_secs(1);

/// Counts empty messages since the last data.
#[derive(Debug, Default)]
pub(super) struct EmptyRun {
    since: Option<Instant>,
    messages: u32,
}

impl EmptyRun {
    /// Counts one more empty message. Returns whether the run is an end.
    pub(super) fn is_end(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + WITHIN) {
            *self = Self { since: Some(now), messages: 0 };
        }
        self.messages += 1;
        self.messages >= MESSAGES
    }

    /// Data ends the run.
    pub(super) fn broken(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_empty_messages_at_once_are_an_end() {
        let now = Instant::now();
        let millis = |millis| now + Duration::from_millis(millis);
        let mut quick = EmptyRun::default();
        assert_eq!((0..200).position(|i| quick.is_end(millis(i))), Some(99));
        let mut slow = EmptyRun::default();
        assert!(!(0..1000).any(|i| slow.is_end(millis(20 * i))));
        let mut with_data = EmptyRun::default();
        let data = |i| {
            with_data.broken();
            (0..99).any(|_| with_data.is_end(millis(i)))
        };
        assert!(!(0..10).any(data));
    }
}
