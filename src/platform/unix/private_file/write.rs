//! Writing files that only their owner can change.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use super::owners::Owners;
use super::read::flags;
use super::walk::{Walked, walk};
use crate::error::{Exposure, How};
use crate::platform::file_access::{Access, Log, with_warning};
use crate::platform::unix::directories::home;
use crate::platform::unwritable::Unwritable;

impl Access {
    fn directory_mode(self) -> u32 {
        if self == Self::Everyone { 0o755 } else { 0o700 }
    }

    /// The mode of a file that replaces the one at `path`.
    fn file_mode(self, path: &Path) -> io::Result<u32> {
        match self {
            Self::Owner => Ok(0o600),
            Self::Everyone => Ok(0o644),
            Self::Unchanged => match fs::metadata(path) {
                Ok(replaced) => Ok(replaced.mode() & 0o777),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(0o600),
                Err(error) => Err(error),
            },
        }
    }
}

/// Creates the directory at `path` and those above it, where they are missing.
///
/// # Errors
/// Returns the error of the file system.
pub fn create_directories(path: &Path, access: Access) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(access.directory_mode()).create(path)
}

/// A temporary file that is to replace the one at `path`, in the same directory.
///
/// # Errors
/// Returns the error of the file system.
pub fn replacement(path: &Path, access: Access) -> io::Result<NamedTempFile> {
    let mode = Permissions::from_mode(access.file_mode(path)?);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let file = tempfile::Builder::new().permissions(mode.clone()).tempfile_in(directory)?;
    // The umask does not apply to the final mode.
    file.as_file().set_permissions(mode)?;
    Ok(file)
}

/// Resolves `path` for writing, provided that other users can change no directory or link on it.
///
/// # Errors
/// What they can change, or what else prevents the file from being written.
pub fn destination(path: &Path) -> Result<PathBuf, Unwritable> {
    let Walked { resolved, found, exposures } = walk(path, &Owners::here(), true)?;
    // The file itself may be exposed: a new one replaces it.
    if let Some(exposure) = exposures.into_iter().find(|exposure| exposure.path != resolved) {
        return Err(Unwritable::Exposed(exposure));
    }
    if found.is_some_and(|found| !found.is_file()) {
        return Err(io::Error::other("something other than a file is there").into());
    }
    if let Some(home) = home().filter(|home| !home.exists())
        && resolved.starts_with(walk(&home, &Owners::here(), true)?.resolved)
    {
        let problem = format!("the home directory {} does not exist", home.display());
        return Err(io::Error::new(ErrorKind::NotFound, problem).into());
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
    create_directories(resolved.parent().unwrap_or(Path::new("/")), Access::Owner)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    options.custom_flags(flags(OFlags::NONBLOCK | OFlags::NOFOLLOW));
    Ok(options.open(resolved)?)
}

/// The log at `path`, if it can be written, and a warning. A log that other users can change is written only
/// `even_if_exposed`.
pub fn log_if_possible(path: &Path, even_if_exposed: bool) -> (Option<File>, Option<String>) {
    with_warning(path, open(path, even_if_exposed))
}

/// Opens a log for appending. A missing one is created for its owner alone. It may be a terminal, a pipe or `/dev/null`.
/// Links of other users are not followed.
///
/// # Errors
/// When it cannot be opened, or a pipe has no reader.
pub fn open_log(path: &Path) -> io::Result<Log> {
    open(path, true)
}

/// What other users can change about the log at `path`, which need not exist yet.
pub fn log_exposures(path: &Path) -> Vec<Exposure> {
    let is_file = fs::metadata(path).is_ok_and(|there| there.is_file()) || !path.exists();
    let walked = is_file.then(|| walk(path, &Owners::here(), false).ok()).flatten();
    walked.map(|walked| walked.exposures).unwrap_or_default()
}

fn open(path: &Path, even_if_exposed: bool) -> io::Result<Log> {
    // Non-blocking: opening a pipe would wait for a reader, and writing for a slow one. Losing a line is better than
    // holding up a session.
    let opened = |path: &Path, new: bool, more: OFlags| {
        let mut options = File::options();
        options.append(true).create_new(new).mode(0o600);
        options.custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY | more));
        // Reading shows how the file ends, where its mode allows it.
        match options.read(more.contains(OFlags::NOFOLLOW)).open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => options.read(false).open(path),
            opened => opened,
        }
    };
    // A device or a pipe stores nothing that others could read. Only the kernel can follow some links to one.
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let file = opened(path, false, OFlags::empty())?;
        if !file.metadata()?.is_file() {
            return Ok(Log { file, exposures: Vec::new() });
        }
    }
    let Walked { resolved, exposures, found } = walk(path, &Owners::here(), false)?;
    let link =
        |exposure: &&Exposure| fs::symlink_metadata(&exposure.path).is_ok_and(|there| there.is_symlink());
    let denied = |problem: String| Err(io::Error::new(ErrorKind::PermissionDenied, problem));
    if let Some(link) = exposures.iter().find(link) {
        return denied(format!("the link {link}"));
    }
    // The log's own mode is corrected below.
    let own_mode = |exposure: &Exposure| exposure.path == resolved && matches!(exposure.how, How::Write(_));
    let (mode, mut others): (Vec<_>, Vec<_>) = exposures.into_iter().partition(own_mode);
    if let Some(exposure) = others.first().filter(|_| !even_if_exposed) {
        return denied(format!("{exposure}: {}", exposure.fix()));
    }
    let file = match found {
        Some(_) => opened(&resolved, false, OFlags::NOFOLLOW)?,
        None => match opened(&resolved, true, OFlags::NOFOLLOW) {
            // Another process has just created it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                opened(&resolved, false, OFlags::NOFOLLOW)?
            }
            made => made?,
        },
    };
    if !mode.is_empty() {
        let closed = Permissions::from_mode(file.metadata()?.mode() & !0o022);
        if file.set_permissions(closed).is_err() {
            others.extend(mode);
        }
    }
    Ok(Log { file, exposures: others })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::platform::replace::replace;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn replacing_keeps_links_and_creates_private_files() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a/b/file"), directory.path().join("link"));
        replace(&file, b"old", Access::Owner).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"new", Access::Everyone).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
        assert_eq!([mode(&file), mode(file.parent().unwrap())], [0o644, 0o700]);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        // A dangling link stays as well.
        fs::remove_file(&file).unwrap();
        replace(&link, b"again", Access::Owner).unwrap();
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"again");
    }

    #[test]
    fn a_file_that_others_can_replace_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let (open, file) = (directory.path().join("open"), directory.path().join("open/file"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(replace(&file, b"x", Access::Owner), Err(Unwritable::Exposed(_))));
        assert!(matches!(
            replace(&open.join("deeper/file"), b"x", Access::Owner),
            Err(Unwritable::Exposed(_))
        ));
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
        fs::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
        // A file that others can write to is replaced by a private one.
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        replace(&file, b"x", Access::Owner).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert!(matches!(replace(&open, b"x", Access::Owner), Err(Unwritable::Io(_))));
        // Which readers it has may stay as they were.
        for mode_before in [0o400, 0o644] {
            fs::set_permissions(&file, Permissions::from_mode(mode_before)).unwrap();
            replace(&file, b"x", Access::Unchanged).unwrap();
            assert_eq!(mode(&file), mode_before);
        }
    }

    #[test]
    fn a_log_is_private_and_follows_only_our_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        open_log(&path).unwrap().file.write_all(b"a\n").unwrap();
        assert_eq!(mode(&path), 0o600);
        for (before, after) in [(0o666, 0o644), (0o644, 0o644), (0o660, 0o640)] {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            let log = open_log(&path).unwrap();
            assert_eq!((log.exposures.len(), mode(&path) & !0o020), (0, after & !0o020), "{before:o}");
        }
        // Our own links are followed, dangling ones as well.
        let link = directory.path().join("link");
        symlink("other", &link).unwrap();
        open_log(&link).unwrap().file.write_all(b"b\n").unwrap();
        assert_eq!(fs::read(directory.path().join("other")).unwrap(), b"b\n");
        assert_eq!(mode(&directory.path().join("other")), 0o600);
        assert!(open_log(directory.path()).is_err());
    }

    #[test]
    fn a_log_may_be_a_device_or_a_pipe_and_never_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        assert_eq!(open_log(&fifo).unwrap_err().raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error()));
        for path in ["/dev/null", "/dev/stderr"] {
            open_log(Path::new(path)).unwrap();
        }
        let (_reader, writer) = io::pipe().unwrap();
        let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        open_log(Path::new(&name)).unwrap().file.write_all(b"x").unwrap();
    }
}
