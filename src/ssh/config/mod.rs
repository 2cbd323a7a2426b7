//! The ssh configuration for profiles: what it says, and keeping it where ssh finds it.

mod blocks;
mod diff;
mod include;

pub use blocks::{Helper, blocks};
pub use diff::unified;
pub use include::{Change, Place};
