//! The service's side: asks the hub for a stream to a device, and joins it at the streaming gateway.

mod devices;
mod look;
mod open;
mod rest;
mod wait;

pub use devices::{Progress, devices};
pub use look::{Look, look, reads_registry};
pub use open::{Request, open};
pub use wait::{Patience, open_waiting};
