//! The list of a service's devices, for backends whose service keeps one.

use std::fmt::Debug;
use std::time::Duration;

use super::joined::Pending;
use crate::error::Result;

/// A service's list of its devices.
pub trait Registry: Debug + Send + Sync {
    /// All devices. `progress` is called after each step.
    ///
    /// # Errors
    /// What the network or the service says.
    fn devices<'a>(
        &'a self,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Pending<'a, Result<Vec<Device>>>;
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub id: String,
    pub state: State,
    /// The time as the service writes it; `None` for a device that has never been active.
    pub last_activity: Option<String>,
}

/// Whether a device can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Online,
    Offline,
    /// The service refuses the device.
    Disabled,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Online => "online",
            State::Offline => "offline",
            State::Disabled => "disabled",
        }
    }
}

/// How far a listing has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub devices: usize,
    /// How long it waits for a service that throttles.
    pub pause: Option<Duration>,
}
