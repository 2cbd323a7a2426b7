//! Replacing a file in one step: whoever reads it sees the old text or the new, and no mode in between.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Writes `bytes` to the file at `path` with `mode`. Where it is a link, the file it leads to is replaced. Missing
/// directories are made, closed to others.
///
/// # Errors
/// What the file system says; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mode = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(mode.clone()).tempfile_in(directory)?;
    file.write_all(bytes)?;
    // The umask has had its say on a new file's mode.
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(&target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_links_and_closes_what_it_makes() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a/b/file"), directory.path().join("link"));
        replace(&file, b"old", 0o600).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&file), mode(file.parent().unwrap())], [0o644, 0o700]);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
