//! The two pumps between a byte stream and a WebSocket, with half-close, keepalive and byte counts. Knows neither Azure nor
//! TLS.

mod bridge;
pub(crate) mod buffer;
mod empty_run;
mod end;
mod frame;
mod incoming;
mod link;
mod meter;
mod outgoing;
mod remote;
mod watch;

pub use bridge::{Controls, End, Settings, bridge};
pub use frame::{Close, MAX_PAYLOAD};
pub use meter::Meter;
pub use remote::{Keepalive, Remote};
