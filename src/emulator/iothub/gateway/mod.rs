//! The streaming gateway: where the two sides of a stream join, and are relayed.

mod settings;
mod side;
mod streams;
mod token;

pub(super) use settings::settings;
pub(super) use side::{Side, path};
pub(super) use streams::{JoinError, Streams};
