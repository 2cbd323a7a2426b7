//! How a stream is asked for and offered. Nothing else knows with which service.

mod choose;
mod dialer;
pub mod iothub;
mod joined;
mod listener;
mod settings;

pub use choose::listener;
pub use dialer::{Checked, Dialer};
pub use joined::{Joined, Pending};
pub use listener::{Cause, Event, Listener, Offer, Offers, Order, Orders, Rejection, Reply, Reread, Source};
pub use settings::{DeviceSettings, Transport};
