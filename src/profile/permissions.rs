//! Files with secrets are read only if nobody else can get at them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Checks an open file that holds a secret, and the directory it is in: who can write there can replace it.
///
/// # Errors
/// [`Error::Permissions`] with the `chmod` that mends it.
pub fn check_secret_file(path: &Path, file: &File) -> Result<()> {
    let metadata = file.metadata().map_err(Error::local_io(path.display().to_string()))?;
    // A pipe, as of a shell's <(…), is nobody else's.
    if !metadata.is_file() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::Permissions { path: path.to_owned(), mode, mend: "chmod 600" });
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = directory.metadata().map_err(Error::local_io(directory.display().to_string()))?;
    let mode = metadata.permissions().mode();
    // In a sticky directory, such as /tmp, files are replaced by their owners only.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(Error::Permissions { path: directory.to_owned(), mode, mend: "chmod go-w" });
    }
    Ok(())
}
