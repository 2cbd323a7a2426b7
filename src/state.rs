//! The user's state directory: what is remembered between runs, and can be lost without harm.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

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
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let mut file = tempfile::NamedTempFile::new_in(&directory)?;
    file.write_all(text.as_bytes())?;
    file.persist(directory.join(name))?;
    Ok(())
}
