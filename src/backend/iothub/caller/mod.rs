//! The caller's side: asks the hub for a stream to a device, and joins it at the streaming gateway.

mod check;
mod credential;
mod dialer;
mod explain;
mod look;
mod open;
mod pasted;
mod registry;
mod rest;

pub use dialer::HubDialer;
pub use open::{Request, open};
pub use pasted::{is_connection_string, recognise};
pub use registry::HubRegistry;
