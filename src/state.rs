//! The user's state directory: what is remembered between runs, and can be lost without harm.

use std::path::PathBuf;
use std::{fs, io};

use crate::replace::replace;

/// `~/.local/state/iotstream` on Linux; `None` where there is no home.
fn directory() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "iotstream")?;
    Some(directories.state_dir().unwrap_or(directories.data_local_dir()).to_owned())
}

/// Reads the file `name`; `None` when it is not there or cannot be read.
pub fn read(name: &str) -> Option<String> {
    fs::read_to_string(directory()?.join(name)).ok()
}

/// Writes the file `name` as a whole or not at all, for nobody else to read.
///
/// # Errors
/// When there is no place to write to.
pub fn write(name: &str, text: &str) -> io::Result<()> {
    let directory = directory().ok_or(io::ErrorKind::NotFound)?;
    replace(&directory.join(name), text.as_bytes(), 0o600)
}
