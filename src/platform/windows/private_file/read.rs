//! Reading files, and finding who else can read or change them.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::exposures;
use crate::platform::file_access::{LONGEST, Read};

/// Reads the file at `path`.
///
/// # Errors
/// When it cannot be read, or is longer than [`LONGEST`].
pub fn read(path: &Path) -> io::Result<Read> {
    let (file, metadata) = open(path)?;
    let (changeable, readable) = exposures::of_file(path, &file)?;
    Ok(Read { bytes: content(&file, &metadata, LONGEST)?, changeable, readable })
}

/// The bytes of a file that is not secret, such as certificates.
///
/// # Errors
/// When it cannot be read, or is longer than any system's collection of certificates.
pub fn read_plain(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, metadata) = open(path)?;
    content(&file, &metadata, 16 * LONGEST)
}

/// The text of a file that this program has written, of at most `longest` bytes; `None` if it is missing, or other users
/// can change it.
pub fn read_own(path: &Path, longest: u64) -> Option<String> {
    let (file, metadata) = open(path).ok()?;
    if let Some(exposure) = exposures::of_file(path, &file).ok()?.0.first() {
        log::debug!("{} is not read: {exposure}", path.display());
        return None;
    }
    let bytes = content(&file, &metadata, longest).ok()?;
    std::str::from_utf8(&bytes).ok().map(str::to_owned)
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)
        .map_err(|error| if path.is_dir() { ErrorKind::IsADirectory.into() } else { error })?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn content(file: &File, metadata: &Metadata, longest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // A buffer that grew would leave copies of the secret in memory.
    let expected = metadata.len().min(longest) + 1;
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
