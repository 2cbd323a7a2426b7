//! The ssh configuration for profiles: its blocks, and the file that includes them.

mod blocks;
mod diff;
mod include;

pub use blocks::{Helper, blocks};
pub use diff::unified;
pub use include::{Change, SshDirectory};
