//! The clock, and the formats of times on the wire and in the log, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// 2026-11-01, which has passed: an earlier clock is wrong.
const PAST: Duration = Duration::from_secs(1_793_491_200);

/// 9999-12-31T23:59:59Z, since 1970.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// This machine's clock for TLS. rustls's own panics before 1970.
#[derive(Debug)]
pub struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(since_epoch(SystemTime::now())))
    }
}

/// Whether a clock at `time` is certainly behind.
pub fn is_past(time: UnixTime) -> bool {
    time < UnixTime::since_unix_epoch(PAST)
}

/// A point in time: whole seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// `None` beyond the times of this system.
    pub fn time(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.0))
    }
}

/// Whole seconds since 1970; 0 for an earlier clock.
pub fn unix_seconds(time: SystemTime) -> UnixSeconds {
    UnixSeconds(since_epoch(time).as_secs())
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The nearest time in the years 1970 to 9999: the formatters panic outside.
fn in_calendar(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + since_epoch(time).min(LAST)
}

/// `2022-06-14T08:24:33.800Z`.
pub fn iso8601(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(in_calendar(time)).to_string()
}

/// `2022-06-14 08:24 UTC`, for people.
pub fn utc_minute(time: SystemTime) -> String {
    let time = iso8601(time);
    format!("{} {} UTC", &time[..10], &time[11..16])
}

/// `Tue, 14 Jun 2022 08:24:33 GMT`, as in HTTP's Date header (RFC 9110, 5.6.7).
pub fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(in_calendar(time))
}

/// `06/14/2022 08:24:33`, as the hub's tracking ids have it \[I].
pub fn us_date(time: SystemTime) -> String {
    let time = iso8601(time);
    format!("{}/{}/{} {}", &time[5..7], &time[8..10], &time[..4], &time[11..19])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_times() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(iso8601(at(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(at(951_782_400)), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso8601(at(1_655_195_073) + Duration::from_millis(800)), "2022-06-14T08:24:33.800Z");
        assert_eq!(utc_minute(at(1_655_195_073)), "2022-06-14 08:24 UTC");
        assert_eq!(us_date(at(1_655_195_073)), "06/14/2022 08:24:33");
        assert_eq!(http_date(at(1_655_195_073)), "Tue, 14 Jun 2022 08:24:33 GMT");
        // RFC 9110's own example.
        assert_eq!(http_date(at(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(iso8601(at(4_102_444_799)), "2099-12-31T23:59:59.000Z");
        assert_eq!(iso8601(UNIX_EPOCH + PAST), "2026-11-01T00:00:00.000Z");
        assert_eq!(http_date(UNIX_EPOCH - Duration::from_secs(9)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(iso8601(UNIX_EPOCH - Duration::from_secs(9)), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(UNIX_EPOCH + LAST * 2), "9999-12-31T23:59:59.000Z");
        assert_eq!(http_date(UNIX_EPOCH + LAST * 2), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert!(!is_past(Clock.current_time().unwrap()));
    }
}
