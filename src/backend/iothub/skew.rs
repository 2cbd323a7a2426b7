//! How far the local clock is from the hub's.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::text::duration;

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
        format!("the clock here is {self} the hub's, which allows five minutes: set the clock")
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
