//! What only Linux offers. Every part is an improvement: the rooms of the other systems have the same
//! functions, most of which do nothing.

pub(crate) mod file;
pub(crate) mod machine;
pub(crate) mod parent;
pub(crate) mod pipe;
pub(crate) mod signals;
pub(crate) mod tcp;
pub(crate) mod users;

use super::service_file::ServiceFile;

/// What makes the agent a service.
pub(crate) const SERVICE_FILE: ServiceFile = ServiceFile::Unit;

/// The socket of the system log.
pub(crate) const SYSTEM_LOG: &str = "/dev/log";

/// The directory of the files of running services.
pub(crate) const RUNTIME: &str = "/run";

/// Whether a user's `~/.config` goes before the directory that the system prescribes: here it is the same.
pub(crate) const PREFERS_DOT_CONFIG: bool = false;
