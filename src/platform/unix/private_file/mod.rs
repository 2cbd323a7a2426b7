//! Files that hold secrets, and files that this program writes: other users must have no hand in them. The one place
//! that opens them, for the caller's side and for the device's.

mod owners;
mod read;
mod walk;
mod write;

pub use crate::platform::exposure::{Exposure, How, Unwritable, quoted};
pub use read::{LONGEST, Read, is_credential, read, read_own, read_plain};
pub use write::{Log, destination, log_exposures, log_if_possible, open_log, open_own, replace};

use std::path::PathBuf;

/// The user's home directory: as `HOME` says where that is a path from the root, else as the system's own files say.
pub fn home() -> Option<PathBuf> {
    let variable = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    variable.or_else(|| owners::home("/etc/passwd".as_ref()))
}
