//! The list of a service's devices, for backends whose service keeps one.

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
