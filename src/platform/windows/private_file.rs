//! Files that other users should not be able to change: those that hold secrets, and those that this program writes. All
//! of them are opened here. Windows has no modes: a new file gets the access list of its directory, and a user's own
//! directories are closed to other users.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::error::Exposure;
use crate::platform::file_access::with_warning;
pub use crate::platform::file_access::{Access, LONGEST, Log, Read};
pub use crate::platform::unwritable::Unwritable;

/// Reads the file at `path`.
///
/// # Errors
/// When it cannot be read, or is longer than [`LONGEST`].
pub fn read(path: &Path) -> io::Result<Read> {
    Ok(Read { bytes: content(path, LONGEST)?, changeable: Vec::new(), readable: None })
}

/// The bytes of a file that is not secret, such as certificates.
///
/// # Errors
/// When it cannot be read, or is longer than any system's collection of certificates.
pub fn read_plain(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    content(path, 16 * LONGEST)
}

/// The text of a file that this program has written, of at most `longest` bytes; `None` if it is missing.
pub fn read_own(path: &Path, longest: u64) -> Option<String> {
    let bytes = content(path, longest).ok()?;
    std::str::from_utf8(&bytes).ok().map(str::to_owned)
}

fn content(path: &Path, longest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)
        .map_err(|error| if path.is_dir() { ErrorKind::IsADirectory.into() } else { error })?;
    // A buffer that grew would leave copies of the secret in memory.
    let expected = file.metadata()?.len().min(longest) + 1;
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or_default().max(4096)));
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("it is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// Whether every user can read the file at `path`, as far as its own mode decides: files have none.
pub fn is_readable_by_everyone(_: &Path) -> bool {
    false
}

/// Whether an open file has lost its name: Windows keeps the name while the file is open.
pub fn is_deleted(_: &File) -> bool {
    false
}

/// Whether `path` is one of the credentials of systemd.
pub fn is_credential(_: &Path) -> bool {
    false
}

/// A file's size and times. Another content has another stamp, whether the file is replaced or written in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    created: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// The stamp of the file that `path` leads to; `None` if it is missing or not accessible.
    pub fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { size: file.len(), created: file.created().ok(), modified: file.modified().ok() })
    }
}

/// Creates the directory at `path` and those above it, where they are missing.
///
/// # Errors
/// Returns the error of the file system.
pub fn create_directories(path: &Path, _: Access) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// A temporary file that is to replace the one at `path`, in the same directory.
///
/// # Errors
/// Returns the error of the file system.
pub fn replacement(path: &Path, _: Access) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().tempfile_in(path.parent().unwrap_or(Path::new(".")))
}

/// Resolves `path` for writing.
///
/// # Errors
/// What prevents the file from being written.
pub fn destination(path: &Path) -> Result<PathBuf, Unwritable> {
    let resolved = if path.is_symlink() { fs::canonicalize(path)? } else { std::path::absolute(path)? };
    if resolved.exists() && !resolved.is_file() {
        return Err(io::Error::other("something other than a file is there").into());
    }
    Ok(resolved)
}

/// Writes `bytes` to the file at `path` atomically: a reader sees either the old text or the new. A link stays, and the
/// file it leads to is replaced. Missing directories are created.
///
/// # Errors
/// What the file system refuses; the file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Unwritable> {
    let resolved = destination(path)?;
    create_directories(resolved.parent().unwrap_or(Path::new(".")), Access::Owner)?;
    let mut file = replacement(&resolved, access)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Unlike `persist`, the standard library's rename also replaces a file that another process is reading.
    let (file, temporary) = file.keep().map_err(|error| error.error)?;
    drop(file);
    fs::rename(&temporary, &resolved).inspect_err(|_| {
        // It would stay behind.
        let _ = fs::remove_file(&temporary);
    })?;
    Ok(())
}

/// Opens the file at `path` for reading and writing in place. A missing one is created.
///
/// # Errors
/// What the file system refuses.
pub fn open_own(path: &Path) -> Result<File, Unwritable> {
    if path.is_symlink() {
        return Err(io::Error::other("a link is there").into());
    }
    let resolved = destination(path)?;
    create_directories(resolved.parent().unwrap_or(Path::new(".")), Access::Owner)?;
    Ok(File::options().read(true).write(true).create(true).truncate(false).open(resolved)?)
}

/// The log at `path`, if it can be written, and a warning.
pub fn log_if_possible(path: &Path, _even_if_exposed: bool) -> (Option<File>, Option<String>) {
    with_warning(path, open_log(path))
}

/// Opens a log for appending. A missing one is created.
///
/// # Errors
/// When it cannot be opened.
pub fn open_log(path: &Path) -> io::Result<Log> {
    // Reading shows how the file ends.
    let file = File::options().read(true).append(true).create(true).open(path)?;
    Ok(Log { file, exposures: Vec::new() })
}

/// What other users can change about the log at `path`.
pub fn log_exposures(_: &Path) -> Vec<Exposure> {
    Vec::new()
}
