//! The bridge between a byte stream and a WebSocket: framing, half-close, keepalive and byte counts. Independent of Azure
//! and TLS.

mod bridge;
pub(crate) mod buffer;
mod byte_count;
mod empty_run;
mod end;
mod exchange;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod incoming;
mod meter;
mod outgoing;
mod pump_state;
mod remote;
mod settings;
mod watch;

pub(crate) use bridge::{Controls, bridge};
pub(crate) use byte_count::Direction;
pub(crate) use end::End;
pub(crate) use exchange::Exchange;
pub(crate) use frame::Close;
pub(crate) use meter::Meter;
pub(crate) use remote::{Keepalive, Remote};
pub(crate) use settings::Settings;
