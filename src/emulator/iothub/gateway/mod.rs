//! The streaming gateway: where the two sides of a stream join, and are relayed.

mod channel;
mod cut;
mod relay;
mod side;
mod streams;
mod token;

pub(super) use relay::relay;
pub(super) use side::{Side, path};
pub(super) use streams::{JoinError, Streams};
