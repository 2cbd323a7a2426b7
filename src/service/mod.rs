//! The service's side: asks the hub for a stream to a device, and joins it at the streaming gateway.

mod open;

pub use open::{Request, open};
