//! The difference between the local clock and the hub's.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::text::duration;

/// How far the local clock is behind or ahead of the hub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    Behind(Duration),
    Ahead(Duration),
}

impl Skew {
    /// The largest skew with which the hub accepts tokens \[D].
    const LIMIT: Duration = Duration::from_secs(5 * 60);

    /// The skew of the clock `here`.
    pub fn measured(here: SystemTime, hub: SystemTime) -> Self {
        match here.duration_since(hub) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(behind) => Self::Behind(behind.duration()),
        }
    }

    /// The skew of the clock `here`, if it is too large.
    pub fn between(here: SystemTime, hub: SystemTime) -> Option<Self> {
        Some(Self::measured(here, hub)).filter(|skew| skew.is_too_far())
    }

    /// The size of the skew.
    pub fn amount(self) -> Duration {
        let (Self::Ahead(by) | Self::Behind(by)) = self;
        by
    }

    /// The hint of errors.
    pub fn hint(self) -> String {
        format!("the clock here is {self} the hub's, which allows five minutes: set the clock")
    }

    /// Whether the hub refuses tokens because of the skew.
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
