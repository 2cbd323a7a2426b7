//! The end of a client certificate's life: warned of before, and reported after.

use std::time::{Duration, SystemTime};

use crate::check::Outcome;
use crate::error::Exit;
use crate::net::Validity;
use crate::time::clock::utc_minute;

/// A certificate is to be renewed in the last third of its life, and no earlier than this before its end.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// The shortest time between two warnings of the same kind.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a certificate's dates compare with the clock here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Valid,
    EndsSoon,
    Expired,
    NotYetValid,
}

impl Standing {
    fn of(validity: &Validity, now: SystemTime) -> Self {
        let Validity { not_before, not_after } = *validity;
        let life = not_after.duration_since(not_before).unwrap_or_default();
        match not_after.duration_since(now) {
            _ if now < not_before => Self::NotYetValid,
            Err(_) => Self::Expired,
            Ok(left) if left <= RENEW_WITHIN.min(life / 3) => Self::EndsSoon,
            Ok(_) => Self::Valid,
        }
    }

    /// The standing in words.
    fn describe(self, validity: &Validity, now: SystemTime) -> String {
        let (end, now_here) = (utc_minute(validity.not_after), utc_minute(now));
        match self {
            Self::Valid | Self::EndsSoon => {
                let left = validity.not_after.duration_since(now).unwrap_or_default();
                format!("valid until {end} ({})", roughly(left))
            }
            Self::Expired => format!("expired at {end}, and the clock here says {now_here}"),
            Self::NotYetValid => {
                let begin = utc_minute(validity.not_before);
                format!("valid from {begin}, and the clock here says {now_here}")
            }
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::Valid => None,
            Self::EndsSoon => {
                Some("renew it: the agent reads a new certificate and its key without a restart")
            }
            Self::Expired => Some("set the clock here if it is ahead; otherwise renew the certificate"),
            Self::NotYetValid => {
                Some("set the clock here if it is behind; otherwise use another certificate")
            }
        }
    }
}

/// The finding of a check at the time `now`.
pub(crate) fn outcome(validity: &Validity, now: SystemTime) -> Outcome {
    let standing = Standing::of(validity, now);
    let detail = standing.describe(validity, now);
    match (standing, standing.hint()) {
        (Standing::EndsSoon, Some(hint)) => Outcome::Warn(detail, hint.into()),
        (_, Some(hint)) => Outcome::Fail(detail, Some(hint.into()), Exit::Config),
        (_, None) => Outcome::Pass(detail),
    }
}

/// The log's warnings of certificates: at most one a day, unless the certificate or its standing changes.
#[derive(Debug, Default)]
pub(crate) struct ExpiryLog {
    last: Option<(Standing, Validity, SystemTime)>,
}

impl ExpiryLog {
    /// Logs a warning if the certificate ends soon, and an error if it is not valid at the time `now`.
    pub(crate) fn look(&mut self, validity: &Validity, now: SystemTime) {
        if let Some((level, text)) = self.due(validity, now) {
            log::log!(level, "{text}");
        }
    }

    fn due(&mut self, validity: &Validity, now: SystemTime) -> Option<(log::Level, String)> {
        let standing = Standing::of(validity, now);
        let hint = standing.hint()?;
        if let Some((last, of, at)) = self.last
            && (last, of) == (standing, *validity)
            && now.duration_since(at).is_ok_and(|passed| passed < DAY)
        {
            return None;
        }
        self.last = Some((standing, *validity, now));
        let level = if standing == Standing::EndsSoon { log::Level::Warn } else { log::Level::Error };
        let verb = if standing == Standing::Expired { "" } else { "is " };
        let told = standing.describe(validity, now);
        Some((level, format!("the client certificate {verb}{told}; {hint}")))
    }
}

/// A time in whole days, or hours, or minutes.
fn roughly(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: SystemTime = SystemTime::UNIX_EPOCH;

    /// A certificate that is valid for so many days.
    fn valid_for(days: u32) -> Validity {
        Validity { not_before: BEGIN, not_after: BEGIN + DAY * days }
    }

    fn after(days: u32) -> SystemTime {
        BEGIN + DAY * days
    }

    #[test]
    fn warns_in_the_last_third_and_at_most_thirty_days_before_the_end() {
        for (life, passed, status, detail) in [
            (365, 0, "pass", "valid until 1971-01-01 00:00 UTC (365 days)"),
            (365, 334, "pass", "valid until 1971-01-01 00:00 UTC (31 days)"),
            (365, 335, "warn", "valid until 1971-01-01 00:00 UTC (30 days)"),
            (365, 364, "warn", "valid until 1971-01-01 00:00 UTC (24 hours)"),
            (365, 365, "warn", "valid until 1971-01-01 00:00 UTC (0 minutes)"),
            (
                365,
                366,
                "fail",
                "expired at 1971-01-01 00:00 UTC, and the clock here says 1971-01-02 00:00 UTC",
            ),
            // As the service issues them.
            (30, 19, "pass", "valid until 1970-01-31 00:00 UTC (11 days)"),
            (30, 20, "warn", "valid until 1970-01-31 00:00 UTC (10 days)"),
        ] {
            let outcome = outcome(&valid_for(life), after(passed));
            assert_eq!((outcome.parts().0, outcome.parts().1), (status, Some(detail)), "{life}, {passed}");
            assert_eq!(outcome.parts().2.is_some(), status != "pass");
        }
        let tomorrow = Validity { not_before: after(1), not_after: after(9) };
        let (status, detail, hint) = (
            outcome(&tomorrow, BEGIN),
            "valid from 1970-01-02 00:00 UTC, and the clock here says 1970-01-01 00:00 UTC",
            "behind",
        );
        assert_eq!((status.parts().0, status.parts().1), ("fail", Some(detail)));
        assert!(status.parts().2.is_some_and(|shown| shown.contains(hint)));
    }

    #[test]
    fn the_log_warns_once_a_day_and_at_each_change() {
        let (mut log, validity) = (ExpiryLog::default(), valid_for(365));
        let hour = Duration::from_secs(3600);
        let mut due = |validity: &Validity, now| log.due(validity, now).map(|(level, _)| level);
        let soon = after(340);
        assert_eq!(due(&validity, after(300)), None);
        assert_eq!(due(&validity, soon), Some(log::Level::Warn));
        assert_eq!(due(&validity, soon + DAY - hour), None);
        assert_eq!(due(&validity, soon + DAY), Some(log::Level::Warn));
        // The clock was set back.
        assert_eq!(due(&validity, soon), Some(log::Level::Warn));
        assert_eq!(due(&validity, after(365) + hour), Some(log::Level::Error));
        assert_eq!(due(&validity, after(365) + 2 * hour), None);
        // It was renewed.
        assert_eq!(due(&valid_for(800), after(365) + hour), None);
        assert_eq!(due(&valid_for(370), after(365) + hour), Some(log::Level::Warn));
        let (_, text) = ExpiryLog::default().due(&validity, after(366)).unwrap();
        assert!(text.starts_with("the client certificate expired at 1971-01-01 00:00 UTC, and"), "{text}");
        let (_, text) = ExpiryLog::default().due(&validity, soon).unwrap();
        assert!(text.starts_with("the client certificate is valid until 1971-01-01"), "{text}");
    }
}
