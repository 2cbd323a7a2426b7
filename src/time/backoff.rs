//! The wait before the next attempt.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{DATE, HeaderName, RETRY_AFTER};

/// Exponential backoff. Each wait is random within the upper half of its interval, so that a fleet that loses its hub does
/// not reconnect all at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::beginning_with(Duration::from_millis(500))
    }
}

impl Backoff {
    /// One whose first interval is `first`.
    pub fn beginning_with(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// The wait before the next attempt, up to `longest`. `chance` is a uniform random number.
    pub fn wait(&mut self, longest: Duration, chance: u32) -> Duration {
        let most = self.next.min(longest);
        self.next = (most * 2).min(longest);
        most / 2 + (most / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A uniform random number.
pub fn chance() -> u32 {
    // TLS needs the same source.
    getrandom::u32().expect("the system has randomness")
}

/// The wait in a response's `Retry-After` header: seconds, or a date by the server's clock.
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
    fn waits_double_up_to_a_limit_and_start_over() {
        let minute = Duration::from_secs(60);
        let mut backoff = Backoff::default();
        let longest: Vec<_> = (0..9).map(|_| backoff.wait(minute, u32::MAX).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.wait(minute, 0).as_secs(), 30);
        // A shorter limit applies at once, and later waits start from it.
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
    fn reads_retry_after_as_seconds_or_date() {
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
        fn retry_after_never_panics(retry in ".*") {
            let _ = read(&retry, None);
        }
    }
}
