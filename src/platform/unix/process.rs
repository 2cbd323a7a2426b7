//! What a Unix process asks of the system for itself.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Keeps keys out of core dumps. One byte, not none: the kernel heeds a limit of none only where dumps are files, and
/// one byte also where a program takes them.
pub fn no_core_dumps() {
    // A limit that is lower already cannot be raised, and is as good.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
}
