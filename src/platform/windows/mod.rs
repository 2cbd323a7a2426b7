//! What every supported system must provide, for Windows.

mod blocking;
pub(crate) mod child;
pub(crate) mod directories;
pub(crate) mod environment;
pub(crate) mod file;
mod host_name;
pub(crate) mod local_socket;
pub(crate) mod machine;
pub(crate) mod parent;
pub mod private_file;
pub(crate) mod process;
pub(crate) mod restart;
pub(crate) mod service_manager;
pub(crate) mod signals;
pub mod stdio;
pub(crate) mod system_log;
pub(crate) mod tcp;
pub(crate) mod terminal;

pub(crate) use host_name::host_name;

use super::service_file::ServiceFile;

/// What runs the commands of ssh's configuration.
pub(crate) const RUNNER: super::Runner = super::Runner::CreateProcess;

/// What makes the agent a service.
pub(crate) const SERVICE_FILE: ServiceFile = ServiceFile::Batch;
