//! What other users can do with a file, or with the files of a directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf, absolute};

use super::security;
use crate::error::{Exposure, How};
use crate::platform::verbatim::plain;

/// What lets other users change an open file, or replace it in its directory or in that of a link to it; and what lets them
/// read it. Nothing on a file system without access lists, such as FAT. Directories above are not examined: a user who
/// replaces one owns the new directory and file, and that is an exposure.
///
/// # Errors
/// When a list is not understood, or the system does not say who runs this program.
pub(super) fn of_file(path: &Path, file: &File) -> io::Result<(Vec<Exposure>, Option<Exposure>)> {
    let us = security::us()?;
    let shown = absolute(path)?;
    let expose = |how: How| Exposure { path: shown.clone(), how };
    let list = security::of_file(file)?;
    let writers = list.as_ref().and_then(|list| list.writers(&us, false, security::account));
    let readers = list.as_ref().and_then(|list| list.readers(&us, security::account));
    let mut changeable: Vec<_> = writers.map(expose).into_iter().collect();
    changeable.extend(of_directories(path)?);
    Ok((changeable, readers.map(expose)))
}

/// What lets other users replace the file at `path`, which may be missing.
///
/// # Errors
/// When a list is not understood, or the system does not say who runs this program.
pub(super) fn of_directories(path: &Path) -> io::Result<Vec<Exposure>> {
    let us = security::us()?;
    let mut found = Vec::new();
    for path in directories(path)? {
        let list = security::of_directory(&path)?;
        let how = list.and_then(|list| list.writers(&us, true, security::account));
        found.extend(how.map(|how| Exposure { path, how }));
    }
    Ok(found)
}

/// The directory of the file at `path`, or the first above it that exists; and if `path` leads elsewhere by a link, the
/// directory there.
fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let path = absolute(path)?;
    let mut found: Vec<PathBuf> = path
        .ancestors()
        .skip(1)
        .find(|directory| directory.is_dir())
        .map(Path::to_owned)
        .into_iter()
        .collect();
    if let Some(target) = fs::canonicalize(&path).ok().as_deref().and_then(Path::parent) {
        let target = plain(target);
        if !found.iter().any(|known| known.as_os_str().eq_ignore_ascii_case(&target)) {
            found.push(target);
        }
    }
    Ok(found)
}
