//! Reading files, and finding who else can read or change them.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::owners::Owners;
use super::walk::walk;
use crate::error::{Exposure, How};
use crate::platform::extra::file::is_descriptor;
use crate::platform::file_access::{LONGEST, Read};

/// How long a pipe may be silent: the program that fills it may be asking its user for a passphrase.
const SILENCE: Duration = Duration::from_secs(60);

/// How often a file is opened again when it is replaced while it is read.
const TRIES: u32 = 20;

/// Reads the file at `path`. A pipe, such as that of a shell's `<(…)`, has no exposures.
///
/// # Errors
/// When it cannot be read, is longer than [`LONGEST`], or is replaced again and again.
pub fn read(path: &Path) -> io::Result<Read> {
    let owners = Owners::here();
    // An editor that saves a file may replace it at any moment.
    let mut tries = TRIES;
    loop {
        let (file, metadata) = open(path)?;
        let mut found = Read { bytes: Zeroizing::default(), changeable: Vec::new(), readable: None };
        if metadata.is_file() {
            tries -= 1;
            match exposures(path, &metadata, &owners) {
                Err(error) if tries > 0 && error.kind() == ErrorKind::ResourceBusy => continue,
                exposures => found.changeable = exposures?,
            }
            found.readable = readable(path, &metadata, &owners);
        }
        found.bytes = content(&file, &metadata, LONGEST)?;
        return Ok(found);
    }
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
    let (file, metadata) = open(path).ok().filter(|(_, metadata)| metadata.is_file())?;
    if let Some(exposure) = exposures(path, &metadata, &Owners::here()).ok()?.first() {
        log::debug!("{} is not read: {exposure}", path.display());
        return None;
    }
    let bytes = content(&file, &metadata, longest).ok()?;
    std::str::from_utf8(&bytes).ok().map(str::to_owned)
}

/// Opens without blocking, also a pipe that has no writer yet.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file =
        File::options().read(true).custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY)).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok((file, metadata))
}

pub(crate) fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

fn exposures(path: &Path, file: &Metadata, owners: &Owners) -> io::Result<Vec<Exposure>> {
    // The file of a shell's here-document has no name any more, by which others could open it.
    if file.nlink() == 0 || is_descriptor(path) {
        return Ok(Vec::new());
    }
    let walked = walk(path, owners, true)?;
    if walked.found.is_none_or(|found| (found.dev(), found.ino()) != (file.dev(), file.ino())) {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "it was replaced while it was read"));
    }
    Ok(walked.exposures)
}

/// Whether other users can read the file. The directory of systemd's credentials protects them, and their access list
/// shows in the mode as the group's right. A group may read a file of root's: that is how Kubernetes hands a secret to a
/// service.
fn readable(path: &Path, file: &Metadata, owners: &Owners) -> Option<Exposure> {
    let mode = file.mode();
    let by_group = file.uid() != owners.us() && owners.trusts(file.uid());
    let open = if by_group { 0o037 } else { 0o077 };
    (mode & open != 0 && !is_credential(path))
        .then(|| Exposure { path: path.to_owned(), how: How::Read(mode) })
}

/// Whether every user can read the file at `path`, as far as its own mode decides; true if it is missing.
pub fn is_readable_by_everyone(path: &Path) -> bool {
    path.metadata().map_or(true, |file| file.mode() & 0o004 != 0)
}

/// Whether an open file has lost its name, so that what is written to it is lost.
pub fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|file| file.nlink() == 0)
}

/// Whether `path` is in the directory that systemd has created for this service's credentials.
pub fn is_credential(path: &Path) -> bool {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    directory.is_some_and(|directory| directory.is_absolute() && path.starts_with(directory))
}

fn content(file: &File, metadata: &Metadata, longest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // A buffer that grew would leave copies of the secret in memory.
    let expected = metadata.len().min(longest) + 1;
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or_default().max(4096)));
    let mut from = file.take(longest + 1);
    let deadline = Instant::now() + SILENCE;
    while let Err(error) = from.read_to_end(&mut bytes).and_then(|_| ended(file, metadata, &bytes)) {
        if error.kind() != ErrorKind::WouldBlock {
            return Err(error);
        }
        wait_readable(file, deadline)?;
    }
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("it is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// A pipe reads as ended until it has its first writer: that is `WouldBlock` instead.
fn ended(file: &File, metadata: &Metadata, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if !metadata.file_type().is_fifo() || !bytes.is_empty() {
        return Ok(());
    }
    let mut waiting = [PollFd::new(file, PollFlags::IN)];
    let hung_up = poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
    if hung_up { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
}

fn wait_readable(file: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
        Ok(0) => Err(io::Error::new(ErrorKind::TimedOut, "nothing comes through the pipe")),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fifo(path: &Path) {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    }

    #[test]
    fn a_file_that_is_replaced_meanwhile_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let (path, new) = (directory.path().join("file"), directory.path().join("new"));
        fs::write(&path, "x").unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let saving = {
            let path = path.clone();
            std::thread::spawn(move || {
                while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    fs::write(&new, "x").unwrap();
                    fs::rename(&new, &path).unwrap();
                }
            })
        };
        for _ in 0..1000 {
            assert_eq!(**read(&path).unwrap().bytes, *b"x");
        }
        drop(stop);
        saving.join().unwrap();
    }

    #[test]
    fn pipes_are_read_to_their_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        fifo(&path);
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || fs::write(path, "x".repeat(200_000)))
        };
        let found = read(&path).unwrap();
        assert_eq!((found.bytes.len(), found.changeable.len(), found.readable), (200_000, 0, None));
        writer.join().unwrap().unwrap();
        // What this program writes is never a pipe.
        assert_eq!(read_own(&path, 10), None);
    }

    #[test]
    fn reading_stops_at_the_longest_file() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 1048576 bytes");
        assert_eq!(read(Path::new("/dev/null")).unwrap().bytes.len(), 0);
        assert_eq!(read(Path::new("/")).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_mode_that_lets_others_read_and_write_is_one_exposure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        for (mode, told) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o666, 1)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).unwrap().secret_exposures().count(), told, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path).unwrap().changeable, []);
        assert_eq!(read_own(&path, 1).as_deref(), Some("x"));
        assert_eq!(read_own(&path, 0), None);
    }
}
