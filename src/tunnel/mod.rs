//! The two pumps between a byte stream and a WebSocket, with half-close, keepalive and byte counts; and stdin and
//! stdout as a byte stream. Knows neither Azure nor TLS.

mod bridge;
mod frame;
mod link;
mod meter;
mod outgoing;
mod paced;
mod stdio;

pub use bridge::{Close, End, Settings, bridge};
pub use frame::MAX_PAYLOAD;
pub use meter::Meter;
pub use paced::Paced;
pub use stdio::{Input, Output, take_stdio};
