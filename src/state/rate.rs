//! Limits the new streams a second that all helpers of a user request from a service, so that they wait instead of being
//! throttled.
//!
//! A state file for each service records the last starts. A helper that cannot lock it soon does not wait.

use std::io::{self, Read, Seek, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{sleep, timeout};

use super::directory::{self, LOCK_LIMIT, lock};
use crate::platform::is_remote;
use crate::text::percent::encode;

/// The number of streams that start without a delay, and of recorded starts.
const AT_ONCE: usize = 5;

/// The longest wait of a start for its turn.
pub(crate) const LONGEST: Duration = Duration::from_secs(4);

/// The longest file that is read, in bytes.
const MAX_TEXT: u64 = 1024;

/// A turn to request a new stream.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The rate of the service.
    pub rate: &'a Rate,
    /// The longest wait.
    pub limit: Duration,
}

impl Turn<'_> {
    /// Waits for the turn. Cancelling the wait does not release the turn.
    pub async fn wait(self) {
        self.rate.turn(self.limit).await;
    }
}

/// The rate of new streams of one service.
#[derive(Clone, Debug)]
pub struct Rate {
    file: String,
    slot: Duration,
}

impl Rate {
    /// The rate of `service`; `None`, which is no limit, for 0 streams a second.
    pub fn of(service: &str, streams_per_second: u32) -> Option<Self> {
        let slot = Duration::from_secs(1).checked_div(streams_per_second)?;
        Some(Self { file: format!("rate-{}", encode(service)), slot })
    }

    /// Waits for a turn to request a stream, for at most `limit`.
    pub async fn turn(&self, limit: Duration) {
        let Self { file, slot } = self.clone();
        let lock_limit = slot.min(LOCK_LIMIT);
        // A separate thread, because a network file system may hang.
        let booking = tokio::task::spawn_blocking(move || book(&file, slot, lock_limit, limit));
        match timeout(lock_limit, booking).await {
            Ok(Ok(Ok(wait))) if wait.is_zero() => {}
            Ok(Ok(Ok(wait))) => {
                log::info!("waiting {:.1} s for a turn (streams-per-second)", wait.as_secs_f64());
                sleep(wait).await;
            }
            Ok(Ok(Err(error))) => log::debug!("new streams are not paced: {error}"),
            Ok(Err(_)) | Err(_) => log::debug!("new streams are not paced: their file is not available"),
        }
    }
}

/// Books the next free slot, and returns how long to wait for it. A slot later than `limit` is not booked.
fn book(name: &str, slot: Duration, lock_limit: Duration, limit: Duration) -> io::Result<Duration> {
    let mut file = directory::open(name).map_err(|problem| io::Error::other(problem.to_string()))?;
    if is_remote(&file)? {
        return Err(io::Error::other("the state directory is on another machine"));
    }
    lock(&file, lock_limit)?;
    let mut text = Vec::new();
    (&file).take(MAX_TEXT).read_to_end(&mut text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let mut starts = read(&text, now);
    let at = next(&starts, now, slot);
    let wait = at.saturating_sub(now);
    if wait > limit {
        return Ok(limit);
    }
    starts.push(at);
    let kept = &starts[starts.len().saturating_sub(AT_ONCE)..];
    let text: String = kept.iter().map(|start| format!("{:013}\n", start.as_millis())).collect();
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    Ok(wait)
}

/// The starts in a file's text, as times since 1970. None if the text is invalid or a time is in the future.
pub(super) fn read(text: &[u8], now: Duration) -> Vec<Duration> {
    let start = |line: &str| {
        let start = Duration::from_millis(line.parse().ok()?);
        (start <= now + LONGEST).then_some(start)
    };
    let text = std::str::from_utf8(text).unwrap_or("garbage");
    text.lines().map(start).collect::<Option<_>>().unwrap_or_default()
}

/// The start of the next stream: at once if fewer than five have started within the last five slots, else a slot after the
/// last one. This stays within the service's rate whether it counts in seconds or uses a token bucket.
pub(super) fn next(starts: &[Duration], now: Duration, slot: Duration) -> Duration {
    let Some(fifth_last) = starts.len().checked_sub(AT_ONCE).map(|at| starts[at]) else { return now };
    let window = slot * u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
    let last = starts.last().copied().unwrap_or_default();
    if fifth_last + window <= now { now } else { (fifth_last + window).max(last + slot).max(now) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOT: Duration = Duration::from_millis(200);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn five_streams_start_at_once_and_the_others_in_turn() {
        let now = millis(1_000_000);
        let mut starts = Vec::new();
        for _ in 0..12 {
            starts.push(next(&starts, now, SLOT));
        }
        let after: Vec<u128> = starts.iter().map(|start| (*start - now).as_millis()).collect();
        assert_eq!(after, [0, 0, 0, 0, 0, 1000, 1200, 1400, 1600, 1800, 2000, 2200]);
        // After a second without a start, the next one is immediate.
        assert_eq!(next(&starts, now + millis(3200), SLOT), now + millis(3200));
    }

    #[test]
    fn a_corrupt_file_delays_no_stream() {
        let now = millis(1_700_000_000_000);
        let line = |at: Duration| format!("{:013}\n", at.as_millis());
        let five = |at| line(at).repeat(5);
        assert_eq!(read(five(now + LONGEST).as_bytes(), now).len(), 5);
        for text in [
            five(now + LONGEST + millis(1)),
            format!("{}{}", five(now), line(now + Duration::from_secs(3600))),
            format!("{}x\n", five(now)),
            "99999999999999999999\n".repeat(5),
            "\u{0}".repeat(70),
            String::new(),
        ] {
            assert!(read(text.as_bytes(), now).is_empty(), "{text}");
        }
        assert!(read(b"\xff\xfe", now).is_empty());
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_never_before_now(steps in prop::collection::vec(0u64..400, 1..60)) {
            let (mut now, mut starts) = (millis(1_000_000), Vec::new());
            for step in steps {
                now += millis(step);
                let at = next(&starts, now, SLOT);
                prop_assert!(at >= now);
                starts.push(at);
            }
            for six in starts.windows(6) {
                prop_assert!(six[5] - six[0] >= Duration::from_secs(1));
            }
        }

        #[test]
        fn never_panics_on_any_file(text in any::<Vec<u8>>(), now in 0u64..u64::MAX) {
            let starts = read(&text, millis(now));
            let _ = next(&starts, millis(now), SLOT);
        }
    }
}
