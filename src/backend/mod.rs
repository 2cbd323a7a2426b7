//! How a stream is asked for and offered. Nothing else knows with which service.

mod dialer;
pub mod iothub;
mod joined;
mod listener;

pub use dialer::{Checked, Dialer};
pub use joined::{Joined, Pending};
pub use listener::{Cause, Event, Listener, Offer, Offers, Order, Orders, Rejection, Reply, Reread, Source};
