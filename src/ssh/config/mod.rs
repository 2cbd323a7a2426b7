//! The ssh configuration for profiles: its blocks, and the file that includes them.

mod blocks;
mod diff;
mod include;
mod known_hosts_command;

pub(crate) use blocks::{Helper, blocks};
pub(crate) use diff::unified;
pub(crate) use include::{Change, SshDirectory};
