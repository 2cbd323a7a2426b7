//! The files of the state directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use crate::platform::directories::state as directory;
use crate::platform::private_file::{Access, Unwritable, open_own, read_own, replace};

/// The longest file that is read, in bytes: a million device ids of 128 characters.
const LONGEST: u64 = 130 * 1024 * 1024;

/// The variable with the directories of a systemd unit's `StateDirectory=`.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// The longest wait for a file's lock.
pub(super) const LOCK_LIMIT: Duration = Duration::from_millis(200);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The directory of a service: the first that systemd provides, else that of the user.
pub(super) fn of_service() -> Option<PathBuf> {
    let provided = std::env::var_os(STATE_DIRECTORY).unwrap_or_default();
    // systemd separates the directories of `StateDirectory=` by colons.
    let first = std::env::split_paths(&provided).next();
    first.filter(|first| first.is_absolute()).or_else(directory)
}

/// Reads the file `name`; `None` if it is missing, cannot be read, or other users can change it.
pub(super) fn read(name: &str) -> Option<String> {
    read_own(&directory()?.join(name), LONGEST)
}

/// Writes the file `name` atomically, readable only by its owner.
///
/// # Errors
/// Returns an error if there is no state directory, or it cannot be written or other users can change it.
pub(super) fn write(name: &str, text: &str) -> Result<(), Unwritable> {
    let directory = directory().ok_or(std::io::Error::other("there is no home directory"))?;
    replace(&directory.join(name), text.as_bytes(), Access::Owner)
}

/// Opens the file `name` for reading and writing in place. Creates a missing file, readable only by its owner.
///
/// # Errors
/// Returns an error if there is no state directory, other users can change it, or `name` is not a file.
pub(super) fn open(name: &str) -> Result<File, Unwritable> {
    let directory = directory().ok_or(std::io::Error::other("there is no home directory"))?;
    open_own(&directory.join(name))
}

/// Locks the file until it is closed. Gives up after `limit`, because the process that holds the lock may be stopped.
pub(super) fn lock(file: &File, limit: Duration) -> io::Result<()> {
    let since = std::time::Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if since.elapsed() < limit => std::thread::sleep(LOCK_PAUSE),
            locked => return Ok(locked?),
        }
    }
}
