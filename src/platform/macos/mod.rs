//! The functions of `linux` for macOS. Those below are without effect or return an error.

pub(crate) mod parent;
pub(crate) mod tcp;

use super::service_file::ServiceFile;

/// What makes the agent a service.
pub(crate) const SERVICE_FILE: ServiceFile = ServiceFile::PropertyList;

/// The socket of the system log.
pub(crate) const SYSTEM_LOG: &str = "/var/run/syslog";

/// The directory of the files of running services.
pub(crate) const RUNTIME: &str = "/var/run";

/// Whether a user's `~/.config` goes before the directory that the system prescribes.
pub(crate) const PREFERS_DOT_CONFIG: bool = true;

pub(crate) mod file {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(crate) fn has_access_list(_: &Path) -> bool {
        false
    }

    pub(crate) fn is_descriptor(_: &Path) -> bool {
        false
    }

    pub(crate) fn is_remote(_: &File) -> io::Result<bool> {
        Ok(false)
    }
}

pub(crate) mod machine {
    use crate::error::Problem;

    const UNKNOWN: &str = "it can be read on Linux alone";

    pub(crate) fn hardware_address() -> Result<String, Problem> {
        Err(UNKNOWN.into())
    }

    pub(crate) fn serial_number() -> Result<String, Problem> {
        Err(UNKNOWN.into())
    }
}

pub(crate) mod pipe {
    use rustix::event::PollFlags;

    pub(crate) const RDHUP: PollFlags = PollFlags::empty();

    pub(crate) fn set_capacity<F>(_: F, _: usize) {}
}

pub(crate) mod signals {
    /// Nothing tells them without unsafe code. Under nohup, the helper thus heeds SIGHUP.
    pub(crate) fn inherited_ignored() -> u64 {
        0
    }
}

pub(crate) mod users {
    pub(crate) fn unmapped_user() -> Option<u32> {
        None
    }
}
