//! The device registry of a service that has one.

use std::fmt::Debug;
use std::time::Duration;

use super::joined::Pending;
use super::report::Reported;
use crate::error::Result;

/// A service's device registry.
pub(crate) trait Registry: Debug + Send + Sync {
    /// Lists all devices. Calls `progress` after each step.
    ///
    /// # Errors
    /// Returns the error of the network or the service.
    fn devices<'a>(
        &'a self,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Pending<'a, Result<Vec<Device>>>;

    /// Completes what agents have reported, where that takes more requests. Calls `progress` after each step.
    ///
    /// # Errors
    /// Returns the error of the network or the service.
    fn complete_reports<'a>(
        &'a self,
        devices: &'a mut [Device],
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Pending<'a, Result<()>> {
        let (_, _) = (devices, progress);
        Box::pin(async { Ok(()) })
    }
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// The device id.
    pub id: String,
    /// Whether it can be reached.
    pub state: State,
    /// When it was last active.
    pub last_activity: Activity,
    /// What its agent has reported, if one has.
    pub reported: Option<Reported>,
}

/// When a device was last active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// The time in the service's format.
    At(String),
    /// It never was.
    Never,
    /// The service does not tell.
    Unknown,
}

impl Activity {
    /// The time, if there is one.
    pub(crate) fn time(&self) -> Option<&str> {
        match self {
            Activity::At(time) => Some(time),
            Activity::Never | Activity::Unknown => None,
        }
    }
}

/// Whether a device can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
    /// Refused by the service.
    Disabled,
}

impl State {
    /// The name in output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Online => "online",
            State::Offline => "offline",
            State::Disabled => "disabled",
        }
    }
}

/// The progress of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The devices listed so far.
    pub devices: usize,
    /// The pause before the next attempt at a throttling service.
    pub pause: Option<Duration>,
}
