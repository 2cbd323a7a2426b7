//! The emulator's own clock, which may be wrong on request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::text::duration;
use crate::time::clock::{UnixSeconds, unix_seconds};

/// This computer's clock, moved by a fixed time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    ahead: Duration,
    behind: Duration,
}

impl Clock {
    /// Reads `+DURATION` or `-DURATION`; `None` when it is neither.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sign, by) = text.split_at_checked(1)?;
        let by = duration::parse(by).ok()?;
        match sign {
            "+" => Some(Self { ahead: by, behind: Duration::ZERO }),
            "-" => Some(Self { ahead: Duration::ZERO, behind: by }),
            _ => None,
        }
    }

    /// The time it shows; a time out of range is the computer's own.
    pub(super) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        now.checked_add(self.ahead).and_then(|time| time.checked_sub(self.behind)).unwrap_or(now)
    }

    /// When it will show `time`, in a year at most: sums with it stay in range.
    pub(super) fn instant(&self, time: UnixSeconds) -> Instant {
        let seconds = time.0.saturating_sub(unix_seconds(self.now()).0);
        Instant::now() + Duration::from_secs(seconds.min(365 * 86_400))
    }
}

/// Checks that HTTP has dates for `now`: they go from 1970 to 9999, and its library panics on any other.
///
/// # Errors
/// The clock shows no such time.
pub(super) fn check(now: SystemTime) -> Result<()> {
    let seconds = now.duration_since(UNIX_EPOCH).map(|since| since.as_secs());
    match seconds {
        // A day is left for times later than now.
        Ok(..253_402_214_400) => Ok(()),
        _ => Err(Error::LocalIo {
            what: "the clock".into(),
            source: std::io::Error::other("a hub needs one between 1970 and 9999: set it"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_time_that_http_has_no_date_for() {
        let day = Duration::from_secs(86_400);
        assert!(check(SystemTime::now()).is_ok() && check(UNIX_EPOCH).is_ok());
        for now in [UNIX_EPOCH - day, UNIX_EPOCH + 365 * 9000 * day] {
            assert!(check(now).unwrap_err().to_string().starts_with("the clock: "), "{now:?}");
        }
    }
}
