//! Files that other users must not be able to change: those that hold secrets, and those that this program writes. All of
//! them are opened here.

mod owners;
mod read;
mod stamp;
mod walk;
mod write;

pub use crate::platform::unwritable::Unwritable;
pub use read::{
    LONGEST, Read, is_credential, is_deleted, is_readable_by_everyone, read, read_own, read_plain,
};
pub use stamp::Stamp;
pub use write::{
    Access, Log, create_directories, destination, log_exposures, log_if_possible, open_log, open_own,
    replace, replacement,
};

use std::path::PathBuf;

/// The user's home directory: `HOME` where that is an absolute path, else the one in /etc/passwd.
pub fn home() -> Option<PathBuf> {
    let variable = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    variable.or_else(|| owners::home("/etc/passwd".as_ref()))
}
