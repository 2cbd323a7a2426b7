//! The bridge between a byte stream and a WebSocket: framing, half-close, keepalive and byte counts. Independent of Azure
//! and TLS.

mod bridge;
pub(crate) mod buffer;
mod empty_run;
mod end;
mod frame;
mod incoming;
mod meter;
mod outgoing;
mod pump_state;
mod remote;
mod settings;
mod watch;

pub use bridge::{Controls, bridge};
pub use end::End;
pub use frame::{Close, MAX_PAYLOAD};
pub use meter::Meter;
pub use remote::{Keepalive, Remote};
pub use settings::Settings;
