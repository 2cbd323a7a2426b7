//! Replacing files in one step: a reader sees either the old text or the new.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::file_access::Access;
use super::system::private_file::{create_directories, destination, replacement};
use super::unwritable::Unwritable;

/// Writes `bytes` to the file at `path` atomically. A link stays, and the file it leads to is replaced. Missing directories
/// are created for their owner alone, except for a missing home.
///
/// # Errors
/// What other users can change, or what the file system refuses; the file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Unwritable> {
    let resolved = destination(path)?;
    create_directories(resolved.parent().unwrap_or(Path::new("/")), Access::Owner)?;
    let mut file = replacement(&resolved, access)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(put(file, &resolved)?)
}

/// Makes `file`, a [`replacement`], the one at `path`.
///
/// # Errors
/// What the file system refuses; the file is then removed.
pub fn put(file: NamedTempFile, path: &Path) -> io::Result<()> {
    // On Windows, and unlike `persist`, the standard library's rename replaces a file that another process is reading.
    let (file, temporary) = file.keep().map_err(|error| error.error)?;
    drop(file);
    fs::rename(&temporary, path).inspect_err(|_| {
        // It would stay behind.
        let _ = fs::remove_file(&temporary);
    })
}
