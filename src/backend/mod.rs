//! How streams are requested and offered. No other room depends on the service.

mod access;
mod choose;
mod dialer;
pub mod iothub;
mod joined;
mod listener;
mod pasted;
mod registry;
mod settings;
#[cfg(test)]
pub(crate) mod stand_in;

pub use access::Access;
pub use choose::{Defaults, defaults, dialer, is_connection_string, listener, recognise, registry};
pub use dialer::{Checked, Dialer, Request};
pub use joined::{Joined, Pending};
pub use listener::{Cause, Event, Listener, Offer, Offers, Order, Orders, Rejection, Reply, Reread, Source};
pub use pasted::Pasted;
pub use registry::{Device, Progress, Registry, State};
pub use settings::{DeviceSettings, Transport};
