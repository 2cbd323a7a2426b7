//! Runs of empty messages. Microsoft's C# proxies, and those made after them, write what a read of their socket gave
//! without a look at its length: once the socket has ended they send empty messages without end, and never close [S][M].

use std::time::Duration;

use tokio::time::Instant;

/// So many empty messages within the time, with no data between, are an end. One alone is nothing: a peer may keep a line
/// open with it.
const MESSAGES: u32 = 100;
const WITHIN: Duration = Duration::from_secs(1);

/// The empty messages since the last data.
#[derive(Debug, Default)]
pub(super) struct EmptyRun {
    since: Option<Instant>,
    messages: u32,
}

impl EmptyRun {
    /// One more came at `now`: whether they are an end by now.
    pub(super) fn is_end(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + WITHIN) {
            *self = Self { since: Some(now), messages: 0 };
        }
        self.messages += 1;
        self.messages >= MESSAGES
    }

    /// Data came.
    pub(super) fn broken(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_an_end_and_a_few_are_none() {
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
