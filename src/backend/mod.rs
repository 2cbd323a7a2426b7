//! How a stream is asked for and offered. Nothing else knows with which service.

mod dialer;
pub mod iothub;
mod joined;
mod listener;
mod registry;

pub use dialer::{Checked, Dialer};
pub use joined::{Joined, Pending};
pub use listener::{Cause, Event, Listener, Offer, Offers, Order, Rejection, Reply, Reread, Source};
pub use registry::{Device, State};
