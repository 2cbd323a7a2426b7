//! How long to wait before the next try.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{DATE, HeaderName, RETRY_AFTER};

/// Doubling waits, each drawn anew from its upper half: a fleet that lost its hub at once must not come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);

    /// The wait before the next try, of up to `longest`. `chance` is evenly spread over all values.
    pub fn wait(&mut self, longest: Duration, chance: u32) -> Duration {
        let most = self.next.min(longest);
        self.next = (most * 2).min(longest);
        most / 2 + (most / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// After a success the next failure is a first one.
    pub fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

/// A number by chance, evenly spread.
pub fn chance() -> u32 {
    // Without the system's randomness there is no TLS either.
    getrandom::u32().expect("the system has randomness")
}

/// What an answer says of when to try again: seconds, or a date by the server's own clock.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u32::MAX).into()));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now = text(DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(date(value)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew() {
        let minute = Duration::from_secs(60);
        let mut backoff = Backoff::default();
        let longest: Vec<_> = (0..9).map(|_| backoff.wait(minute, u32::MAX).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.wait(minute, 0).as_secs(), 30);
        // A shorter limit counts at once, and what follows starts from there.
        assert_eq!(backoff.wait(Duration::from_secs(3), u32::MAX).as_secs(), 3);
        assert_eq!(backoff.wait(minute, u32::MAX).as_secs(), 3);
        assert_eq!(backoff.wait(minute, u32::MAX).as_secs(), 6);
        backoff.reset();
        assert_eq!(backoff.wait(minute, 0).as_millis(), 250);
    }

    fn read(retry: &str, date: Option<&str>) -> Option<Duration> {
        let date = date.map(|date| (DATE, HeaderValue::from_str(date).unwrap()));
        let retry = HeaderValue::from_bytes(retry.as_bytes()).ok().map(|value| (RETRY_AFTER, value));
        retry_after(&retry.into_iter().chain(date).collect())
    }

    #[test]
    fn servers_say_when_in_seconds_or_by_their_clock() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let date = Some("Thu, 26 Nov 2026 02:00:00 GMT");
        assert_eq!(read("7", None), seconds(7));
        assert_eq!(read(" 0 ", None), seconds(0));
        assert_eq!(read("99999999999999999999", None), seconds(u32::MAX.into()));
        assert_eq!(read("Thu, 26 Nov 2026 02:00:09 GMT", date), seconds(9));
        assert_eq!(read("Thu, 26 Nov 2026 01:00:00 GMT", date), seconds(0));
        for nothing in ["", "soon", "-1", "1.5", "+1"] {
            assert_eq!(read(nothing, date), None, "{nothing}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn foreign_text_does_no_harm(retry in ".*") {
            let _ = read(&retry, None);
        }
    }
}
