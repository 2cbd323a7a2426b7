//! The user's state directory: what is remembered between runs, and can be lost without harm.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::OFlags;

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

/// Opens the file `name` to be read and written in place, made where it is not there, for nobody else to read.
///
/// # Errors
/// When there is no place for it, or what is there is no file.
pub fn open(name: &str) -> io::Result<File> {
    let directory = directory().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    // Neither a link nor a FIFO without a reader is waited for or followed.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    let file = options.open(directory.join(name))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
