//! Writing files that only their owner can change.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{exposures, security};
use crate::error::Exposure;
use crate::platform::file_access::{Access, Log, with_warning};
use crate::platform::unwritable::Unwritable;

/// Others may rename a file while it is open, and do nothing else.
const FILE_SHARE_DELETE: u32 = 4;

/// Creates the directory at `path` and those above it, where they are missing.
///
/// # Errors
/// Returns the error of the file system.
pub fn create_directories(path: &Path, access: Access) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|directory| !directory.exists()).collect();
    fs::create_dir_all(path)?;
    if access != Access::Everyone {
        missing.into_iter().rev().for_each(close_to_others);
    }
    Ok(())
}

fn close_to_others(path: &Path) {
    kept(path, security::close_to_others(path));
}

/// Notes that a list is not set, as on FAT. Whether others can access the file shows when it is read.
fn kept(path: &Path, set: io::Result<()>) {
    if let Err(error) = set {
        log::debug!("{} keeps its access list: {error}", path.display());
    }
}

/// A temporary file that is to replace the one at `path`, in the same directory.
///
/// # Errors
/// Returns the error of the file system.
pub fn replacement(path: &Path, access: Access) -> io::Result<NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // Nobody opens it before its access list is set.
    let create = |path: &Path| {
        File::options().read(true).write(true).create_new(true).share_mode(FILE_SHARE_DELETE).open(path)
    };
    let file = tempfile::Builder::new().make_in(directory, create)?;
    match access {
        Access::Everyone => {}
        Access::Unchanged if path.exists() => kept(file.path(), security::copy(path, file.path())),
        Access::Owner | Access::Unchanged => close_to_others(file.path()),
    }
    Ok(file)
}

/// Resolves `path` for writing, provided that other users cannot replace files in its directory.
///
/// # Errors
/// What they can change, or what else prevents the file from being written.
pub fn destination(path: &Path) -> Result<PathBuf, Unwritable> {
    let resolved = if path.is_symlink() { fs::canonicalize(path)? } else { std::path::absolute(path)? };
    if let Some(exposure) = exposures::of_directories(path)?.into_iter().next() {
        return Err(Unwritable::Exposed(exposure));
    }
    if resolved.exists() && !resolved.is_file() {
        return Err(io::Error::other("something other than a file is there").into());
    }
    Ok(resolved)
}

/// Opens the file at `path` for reading and writing in place. A missing one is created for its owner alone.
///
/// # Errors
/// What other users can change, or what the file system refuses.
pub fn open_own(path: &Path) -> Result<File, Unwritable> {
    if path.is_symlink() {
        return Err(io::Error::other("a link is there").into());
    }
    let resolved = destination(path)?;
    create_directories(resolved.parent().unwrap_or(Path::new(".")), Access::Owner)?;
    let is_new = !resolved.exists();
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&resolved)?;
    if is_new {
        close_to_others(&resolved);
    }
    Ok(file)
}

/// The log at `path`, if it can be written, and a warning. A log that other users can change is written only
/// `even_if_exposed`.
pub fn log_if_possible(path: &Path, even_if_exposed: bool) -> (Option<File>, Option<String>) {
    let opened = open_log(path).and_then(|log| match log.exposures.first() {
        Some(exposure) if !even_if_exposed => {
            Err(io::Error::new(ErrorKind::PermissionDenied, format!("{exposure}: {}", exposure.fix())))
        }
        _ => Ok(log),
    });
    with_warning(path, opened)
}

/// Opens a log for appending. A missing one is created for its owner alone.
///
/// # Errors
/// When it cannot be opened.
pub fn open_log(path: &Path) -> io::Result<Log> {
    let is_new = !path.exists();
    // Reading shows how the file ends.
    let file = File::options().read(true).append(true).create(true).open(path)?;
    if is_new {
        close_to_others(path);
    }
    let exposures = if path.is_file() { exposures::of_file(path, &file)?.0 } else { Vec::new() };
    Ok(Log { file, exposures })
}

/// What other users can change about the log at `path`, which need not exist yet.
pub fn log_exposures(path: &Path) -> Vec<Exposure> {
    match File::open(path) {
        Ok(file) if path.is_file() => exposures::of_file(path, &file).map(|(changeable, _)| changeable),
        Err(error) if error.kind() == ErrorKind::NotFound => exposures::of_directories(path),
        _ => return Vec::new(),
    }
    .unwrap_or_default()
}
