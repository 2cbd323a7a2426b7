//! The streaming gateway: where the two sides of a stream join, and are relayed.

mod channel;
mod cut;
mod join;
mod relay;
mod side;
mod streams;
mod token;

pub(super) use side::{Side, path};
pub(super) use streams::Streams;
