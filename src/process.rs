//! What concerns this process as a whole.

use std::sync::OnceLock;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, setrlimit};

static STARTED: OnceLock<Instant> = OnceLock::new();

/// When this process started, as soon as it could tell: the first call is in `main`.
pub fn started() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

/// Keeps keys out of core dumps. One byte, not none: the kernel heeds a limit of none only where dumps are files, and
/// one byte also where a program takes them.
pub fn no_core_dumps() {
    // A limit that is lower already cannot be raised, and is as good.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
}
