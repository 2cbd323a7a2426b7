//! The caller's side of IoT Hub: requests a stream from the hub, and joins it at the gateway.

mod check;
mod credential;
mod dialer;
mod explain;
mod lookup;
mod open;
mod pasted;
mod registry;
mod rest;

pub use dialer::HubDialer;
pub use open::{Request, open};
pub use pasted::{is_connection_string, recognise};
pub use registry::HubRegistry;
