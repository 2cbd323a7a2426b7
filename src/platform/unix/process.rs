//! The settings of this process.

pub(crate) use super::private_file::user_name;

use rustix::process::{Resource, Rlimit, geteuid, setrlimit};

/// Keeps keys out of core dumps. The limit is one byte, not zero: the kernel ignores zero where a program receives the
/// dumps, and heeds one byte there as well.
pub fn no_core_dumps() {
    // It fails where the limit is lower already.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The number of the user that this process runs as.
pub fn user() -> u32 {
    geteuid().as_raw()
}
