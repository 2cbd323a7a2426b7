//! The service's side: asks the hub for a stream to a device, and joins it at the streaming gateway.

mod open;
mod wait;

pub use open::{Request, open};
pub use wait::open_waiting;
