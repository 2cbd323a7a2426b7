//! Files with secrets are read only if nobody else can get at them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Checks an open file that holds a secret.
///
/// # Errors
/// [`Error::Permissions`] when group or others have any access, with the `chmod` that mends it.
pub fn check_secret_file(path: &Path, file: &File) -> Result<()> {
    let metadata = file.metadata().map_err(Error::local_io(path.display().to_string()))?;
    let mode = metadata.permissions().mode();
    // A pipe, as of a shell's <(…), is nobody else's.
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(Error::Permissions { path: path.to_owned(), mode, mend: "chmod 600" });
    }
    Ok(())
}
