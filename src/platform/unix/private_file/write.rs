//! Writing with care.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::owners::Owners;
use super::read::flags;
use super::walk::{Walked, walk};
use crate::platform::exposure::{Exposure, How, Unwritable};

/// Where writing to `path` leads, once nobody else has a hand in the directories and links on the way.
///
/// # Errors
/// Who has, or what else keeps a file from being written there.
pub fn destination(path: &Path) -> Result<PathBuf, Unwritable> {
    let Walked { resolved, found, exposures } = walk(path, &Owners::here(), true)?;
    // The file itself is replaced by one that is ours, with a mode of its own.
    if let Some(exposure) = exposures.into_iter().find(|exposure| exposure.path != resolved) {
        return Err(Unwritable::Exposed(exposure));
    }
    if found.is_some_and(|found| !found.is_file()) {
        return Err(io::Error::other("something other than a file is there").into());
    }
    if let Some(home) = super::home().filter(|home| !home.exists())
        && resolved.starts_with(walk(&home, &Owners::here(), true)?.resolved)
    {
        let problem = format!("the home directory {} does not exist", home.display());
        return Err(io::Error::new(ErrorKind::NotFound, problem).into());
    }
    Ok(resolved)
}

/// Writes `bytes` to the file at `path` with `mode`, in one step: whoever reads it sees the old text or the new. Where it
/// is a link, the file it leads to is replaced. Missing directories are made, closed to others; a missing home is not.
///
/// # Errors
/// Who else has a hand in it, or what the file system says; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Unwritable> {
    let resolved = destination(path)?;
    let directory = resolved.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mode = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(mode.clone()).tempfile_in(directory)?;
    file.write_all(bytes)?;
    // The umask has had its say on a new file's mode.
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(&resolved).map_err(|error| error.error)?;
    Ok(())
}

/// Opens the file at `path` to be read and written in place, made for nobody else to read where it is not there.
///
/// # Errors
/// Who else has a hand in it, or what the file system says.
pub fn open_own(path: &Path) -> Result<File, Unwritable> {
    if path.is_symlink() {
        return Err(io::Error::other("a link is there").into());
    }
    let resolved = destination(path)?;
    DirBuilder::new().recursive(true).mode(0o700).create(resolved.parent().unwrap_or(Path::new("/")))?;
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    options.custom_flags(flags(OFlags::NONBLOCK | OFlags::NOFOLLOW));
    Ok(options.open(resolved)?)
}

/// A log, open for its end, and who else has a hand in it.
#[derive(Debug)]
pub struct Log {
    pub file: File,
    pub exposures: Vec<Exposure>,
}

/// The log at `path`, if it can be written, and what to warn of. One that another user has a hand in is written only
/// `though_exposed`.
pub fn log_if_possible(path: &Path, though_exposed: bool) -> (Option<File>, Option<String>) {
    let about = |text: String| Some(format!("log file {}: {text}", path.display()));
    match open(path, though_exposed) {
        Err(error) => (None, about(format!("it is not written: {error}"))),
        Ok(Log { file, exposures }) => (
            Some(file),
            exposures.first().and_then(|exposure| about(format!("{exposure}: {}", exposure.fix()))),
        ),
    }
}

/// Opens a log, and makes it for nobody else to read where it is not there. A terminal, a pipe and `/dev/null` pass.
/// Links of other users are not followed.
///
/// # Errors
/// When it cannot be opened, or nobody reads the pipe.
pub fn open_log(path: &Path) -> io::Result<Log> {
    open(path, true)
}

/// Who else has a hand in the log at `path`, whether it is there yet or not.
pub fn log_exposures(path: &Path) -> Vec<Exposure> {
    let is_file = fs::metadata(path).is_ok_and(|there| there.is_file()) || !path.exists();
    let walked = is_file.then(|| walk(path, &Owners::here(), false).ok()).flatten();
    walked.map(|walked| walked.exposures).unwrap_or_default()
}

fn open(path: &Path, though_exposed: bool) -> io::Result<Log> {
    // A pipe without a reader would be waited for, and later one whose reader is slow: a line may be lost, a session not.
    let opened = |path: &Path, new: bool, more: OFlags| {
        let mut options = File::options();
        options.append(true).create_new(new).mode(0o600);
        options.custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY | more));
        // What stands at a file's end can be seen, where its mode lets it.
        match options.read(more.contains(OFlags::NOFOLLOW)).open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => options.read(false).open(path),
            opened => opened,
        }
    };
    // A device or a pipe has no content that another could get at; its name may be a link that only the kernel follows.
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
    // What only the log's own mode lets others do is put right below.
    let own_mode = |exposure: &Exposure| exposure.path == resolved && matches!(exposure.how, How::Write(_));
    let (mode, mut others): (Vec<_>, Vec<_>) = exposures.into_iter().partition(own_mode);
    if let Some(exposure) = others.first().filter(|_| !though_exposed) {
        return denied(format!("{exposure}: {}", exposure.fix()));
    }
    let file = match found {
        Some(_) => opened(&resolved, false, OFlags::NOFOLLOW)?,
        None => match opened(&resolved, true, OFlags::NOFOLLOW) {
            // Another start has made it just now.
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
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn replacing_keeps_links_and_closes_what_it_makes() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a/b/file"), directory.path().join("link"));
        replace(&file, b"old", 0o600).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
        assert_eq!([mode(&file), mode(file.parent().unwrap())], [0o644, 0o700]);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        // A link to what is not there yet stays as well.
        fs::remove_file(&file).unwrap();
        replace(&link, b"again", 0o600).unwrap();
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"again");
    }

    #[test]
    fn what_others_could_replace_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let (open, file) = (directory.path().join("open"), directory.path().join("open/file"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(replace(&file, b"x", 0o600), Err(Unwritable::Exposed(_))));
        assert!(matches!(replace(&open.join("deeper/file"), b"x", 0o600), Err(Unwritable::Exposed(_))));
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
        fs::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
        // A file that others can write to is replaced by one that they cannot.
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        replace(&file, b"x", 0o600).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert!(matches!(replace(&open, b"x", 0o600), Err(Unwritable::Io(_))));
    }

    #[test]
    fn a_log_is_closed_to_others_and_no_link_of_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        open_log(&path).unwrap().file.write_all(b"a\n").unwrap();
        assert_eq!(mode(&path), 0o600);
        for (before, after) in [(0o666, 0o644), (0o644, 0o644), (0o660, 0o640)] {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            let log = open_log(&path).unwrap();
            assert_eq!((log.exposures.len(), mode(&path) & !0o020), (0, after & !0o020), "{before:o}");
        }
        // Our own links are followed, and lead to what is not there yet too.
        let link = directory.path().join("link");
        symlink("other", &link).unwrap();
        open_log(&link).unwrap().file.write_all(b"b\n").unwrap();
        assert_eq!(fs::read(directory.path().join("other")).unwrap(), b"b\n");
        assert_eq!(mode(&directory.path().join("other")), 0o600);
        assert!(open_log(directory.path()).is_err());
    }

    #[test]
    fn devices_and_pipes_pass_as_a_log_and_hold_up_nobody() {
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
