//! What every supported system must provide, for Unix.

pub(crate) mod child;
pub(crate) mod directories;
pub(crate) mod environment;
mod host_name;
pub(crate) mod local_socket;
pub mod private_file;
pub(crate) mod process;
pub(crate) mod restart;
pub(crate) mod service_manager;
pub(crate) mod signals;
pub mod stdio;
pub(crate) mod system_log;
pub(crate) mod terminal;

pub(crate) use host_name::host_name;

/// What runs the commands of ssh's configuration.
pub(crate) const RUNNER: super::Runner = super::Runner::Shell;
