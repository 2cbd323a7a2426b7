//! The difference between the local clock and a service's. A service refuses tokens whose times are too far off its own
//! clock.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::check::Outcome;
use crate::error::Error;
use crate::text::duration;

/// The skew that is worth a warning.
const WORTH_A_WARNING: Duration = Duration::from_secs(60);

/// How far the local clock is behind or ahead of the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    Behind(Duration),
    Ahead(Duration),
}

impl Skew {
    /// The largest skew with which a service accepts tokens: documented of IoT Hub, and seen at Azure Relay, which cut a
    /// token of an hour after five minutes more.
    const LIMIT: Duration = Duration::from_secs(5 * 60);

    /// The skew of the clock `here`.
    pub fn measured(here: SystemTime, service: SystemTime) -> Self {
        match here.duration_since(service) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(behind) => Self::Behind(behind.duration()),
        }
    }

    /// The skew of the clock `here`, if it is too large.
    pub fn between(here: SystemTime, service: SystemTime) -> Option<Self> {
        Some(Self::measured(here, service)).filter(|skew| skew.is_too_far())
    }

    /// The size of the skew.
    pub fn amount(self) -> Duration {
        let (Self::Ahead(by) | Self::Behind(by)) = self;
        by
    }

    /// The hint of errors. `service` is its common noun.
    pub fn hint(self, service: &str) -> String {
        format!("the clock here is {self} the {service}'s, which allows five minutes: set the clock")
    }

    /// The result of a check. The service's clock has a resolution of one second. `too_far` makes the error.
    pub(crate) fn outcome(self, service: &str, too_far: impl FnOnce(Self) -> Error) -> Outcome {
        match self.amount() {
            _ if self.is_too_far() => Err(too_far(self)).into(),
            by if by >= WORTH_A_WARNING => Outcome::Warn(
                format!("{self} the {service}'s"),
                format!("set the clock: the {service} allows five minutes"),
            ),
            by if by.as_secs() > 1 => Outcome::Pass(format!("{self} the {service}'s")),
            _ => Outcome::Pass(format!("as the {service}'s, to the second")),
        }
    }

    /// Whether the service refuses tokens because of the skew.
    pub fn is_too_far(self) -> bool {
        self.amount() > Self::LIMIT
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
