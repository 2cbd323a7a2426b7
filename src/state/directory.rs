//! The user's state directory: what is remembered between runs, and can be lost without harm.

use std::fs::File;
use std::path::PathBuf;

use crate::platform::private_file::{Access, Unwritable, open_own, read_own, replace};

/// The most that is read of one: the ids of a million devices, which have 128 characters at most.
const LONGEST: u64 = 130 * 1024 * 1024;

/// `~/.local/state/iotstream` on Linux; `None` where there is no home, or `HOME` is no path from the root.
fn directory() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "iotstream")?;
    let directory = directories.state_dir().unwrap_or(directories.data_local_dir());
    directory.is_absolute().then(|| directory.to_owned())
}

/// Reads the file `name`; `None` when it is not there, cannot be read, or another user has a hand in it.
pub fn read(name: &str) -> Option<String> {
    read_own(&directory()?.join(name), LONGEST)
}

/// Writes the file `name` as a whole or not at all, for nobody else to read.
///
/// # Errors
/// When there is no place to write to, or another user has a hand in it.
pub fn write(name: &str, text: &str) -> Result<(), Unwritable> {
    let directory = directory().ok_or(std::io::Error::other("there is no home directory"))?;
    replace(&directory.join(name), text.as_bytes(), Access::Owner)
}

/// Opens the file `name` to be read and written in place, made where it is not there, for nobody else to read.
///
/// # Errors
/// When there is no place for it, another user has a hand in it, or what is there is no file.
pub fn open(name: &str) -> Result<File, Unwritable> {
    let directory = directory().ok_or(std::io::Error::other("there is no home directory"))?;
    open_own(&directory.join(name))
}
