//! The clock here beside the hub's: a hub refuses tokens of a clock that is off by more than five minutes [D].

use std::fmt;
use std::time::{Duration, SystemTime};

use super::error::Error;
use crate::check::Outcome;
use crate::text::duration;

/// A clock that is off by so much is on its way out of what a hub allows.
const WORTH_A_WARNING: Duration = Duration::from_secs(60);

/// How far the local clock is off, seen from the hub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    Behind(Duration),
    Ahead(Duration),
}

impl Skew {
    /// Clocks that differ by more make the hub refuse tokens [D].
    const LIMIT: Duration = Duration::from_secs(5 * 60);

    /// How far the clock `here` is from the hub's.
    pub fn measured(here: SystemTime, hub: SystemTime) -> Self {
        match here.duration_since(hub) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(behind) => Self::Behind(behind.duration()),
        }
    }

    /// The same, when that is too far.
    pub fn between(here: SystemTime, hub: SystemTime) -> Option<Self> {
        Some(Self::measured(here, hub)).filter(|skew| skew.is_too_far())
    }

    pub fn by(self) -> Duration {
        let (Self::Ahead(by) | Self::Behind(by)) = self;
        by
    }

    /// What to do about it.
    pub fn hint(self) -> String {
        format!("the clock here is {self} the hub's, which allows five minutes: set it right")
    }

    pub fn is_too_far(self) -> bool {
        self.by() > Self::LIMIT
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skew::Behind(by) => write!(f, "{} behind", duration::show(Duration::from_secs(by.as_secs()))),
            Skew::Ahead(by) => write!(f, "{} ahead of", duration::show(Duration::from_secs(by.as_secs()))),
        }
    }
}

/// What there is to say of the clock `here`, beside the hub's, whose answers tell the time in whole seconds.
pub fn clock(here: SystemTime, hub: SystemTime) -> Outcome {
    let skew = Skew::measured(here, hub);
    match skew.by() {
        _ if skew.is_too_far() => Err(crate::error::Error::from(Error::Skewed { skew })).into(),
        by if by >= WORTH_A_WARNING => Outcome::Warn(
            format!("{skew} the hub's"),
            "at five minutes the hub refuses what is signed here: set it right".into(),
        ),
        by if by.as_secs() > 1 => Outcome::Pass(format!("{skew} the hub's")),
        _ => Outcome::Pass("as the hub's, to the second".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_warned_of_before_the_hub_minds() {
        let hub = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds: i64| {
            let by = Duration::from_secs(seconds.unsigned_abs());
            clock(if seconds < 0 { hub - by } else { hub + by }, hub)
        };
        for (seconds, status, detail) in [
            (0, "pass", "as the hub's, to the second"),
            (-1, "pass", "as the hub's, to the second"),
            (30, "pass", "30s ahead of the hub's"),
            (-90, "warn", "1m30s behind the hub's"),
            (300, "warn", "5m ahead of the hub's"),
            (-301, "fail", "the clock here is 5m1s behind the hub's"),
        ] {
            let outcome = at(seconds);
            assert_eq!((outcome.parts().0, outcome.parts().1), (status, Some(detail)), "{seconds}");
            assert_eq!(outcome.parts().2.is_some(), status != "pass");
        }
    }
}
