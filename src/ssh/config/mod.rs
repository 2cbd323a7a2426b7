//! The ssh configuration for profiles: its blocks, and the file that includes them.

mod blocks;
mod diff;
mod include;

pub(crate) use blocks::{Helper, blocks};
pub(crate) use diff::unified;
pub(crate) use include::{Change, SshDirectory};
