//! Reading with care.

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
use crate::platform::exposure::{Exposure, How};
use crate::platform::extra::file::is_descriptor;

/// Far longer than any connection string, key or profile file.
pub const LONGEST: u64 = 1024 * 1024;

/// How long a pipe may be silent: whoever fills it may ask its user for a passphrase.
const SILENCE: Duration = Duration::from_secs(60);

/// How often a file is opened anew that is replaced in the meantime.
const TRIES: u32 = 20;

/// What a file holds, and how other users can get at it.
#[derive(Debug)]
pub struct Read {
    pub bytes: Zeroizing<Vec<u8>>,
    /// How others can change it.
    pub changeable: Vec<Exposure>,
    /// How others can read it, which matters where it holds a secret.
    pub readable: Option<Exposure>,
}

impl Read {
    /// All there is to say of a file that holds a secret.
    pub fn secret_exposures(&self) -> impl Iterator<Item = &Exposure> {
        // A mode that lets others read and write is closed by one command.
        let same = |exposure: &&Exposure| {
            let readable = self.readable.as_ref();
            !readable.is_some_and(|readable| {
                readable.path == exposure.path && matches!(exposure.how, How::Write(_))
            })
        };
        self.readable.iter().chain(self.changeable.iter().filter(same))
    }
}

/// Reads the file at `path`. A pipe, such as that of a shell's `<(…)`, is nobody else's.
///
/// # Errors
/// When it cannot be read, is longer than [`LONGEST`], or is replaced in the meantime.
pub fn read(path: &Path) -> io::Result<Read> {
    let owners = Owners::here();
    // Whoever saves a file replaces it, at times just now.
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

/// The bytes of a file that is no secret, as a certificate is none.
///
/// # Errors
/// When it cannot be read, or is longer than any system's collection of them.
pub fn read_plain(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, metadata) = open(path)?;
    content(&file, &metadata, 16 * LONGEST)
}

/// The text of a file of this program's own, of at most `longest` bytes; `None` where there is none that can be trusted.
pub fn read_own(path: &Path, longest: u64) -> Option<String> {
    let (file, metadata) = open(path).ok().filter(|(_, metadata)| metadata.is_file())?;
    if let Some(exposure) = exposures(path, &metadata, &Owners::here()).ok()?.first() {
        log::debug!("{} is not read: {exposure}", path.display());
        return None;
    }
    let bytes = content(&file, &metadata, longest).ok()?;
    std::str::from_utf8(&bytes).ok().map(str::to_owned)
}

/// Opens without waiting: a pipe that nobody writes to would be waited for until somebody does.
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
    // The file of a shell's here-document has no name any more, and so nobody else has it.
    if file.nlink() == 0 || is_descriptor(path) {
        return Ok(Vec::new());
    }
    let walked = walk(path, owners, true)?;
    if walked.found.is_none_or(|found| (found.dev(), found.ino()) != (file.dev(), file.ino())) {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "it was replaced while it was read"));
    }
    Ok(walked.exposures)
}

/// Whether others can read the file. Credentials of systemd are guarded by their directory, and show their access list as
/// a group's right; a file of root's, as of a Kubernetes secret, is handed to a service by a group of the service's.
fn readable(path: &Path, file: &Metadata, owners: &Owners) -> Option<Exposure> {
    let mode = file.mode();
    let by_group = file.uid() != owners.us() && owners.trusts(file.uid());
    let open = if by_group { 0o037 } else { 0o077 };
    (mode & open != 0 && !is_credential(path))
        .then(|| Exposure { path: path.to_owned(), how: How::Read(mode) })
}

/// Whether `path` is in the directory that systemd has made for this service's credentials.
pub fn is_credential(path: &Path) -> bool {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    directory.is_some_and(|directory| directory.is_absolute() && path.starts_with(directory))
}

fn content(file: &File, metadata: &Metadata, longest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // A secret is not to be left behind in memory by a buffer that grows.
    let expected = metadata.len().min(longest) + 1;
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or_default().max(4096)));
    let mut from = file.take(longest + 1);
    let deadline = Instant::now() + SILENCE;
    while let Err(error) = from.read_to_end(&mut bytes).and_then(|_| ended(file, metadata, &bytes)) {
        if error.kind() != ErrorKind::WouldBlock {
            return Err(error);
        }
        await_more(file, deadline)?;
    }
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("it is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// A pipe that nobody has opened for writing yet is at its end, and is not meant to be.
fn ended(file: &File, metadata: &Metadata, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if !metadata.file_type().is_fifo() || !bytes.is_empty() {
        return Ok(());
    }
    let mut waiting = [PollFd::new(file, PollFlags::IN)];
    let hung_up = poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
    if hung_up { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
}

fn await_more(file: &File, deadline: Instant) -> io::Result<()> {
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
    fn a_file_that_is_being_saved_is_read() {
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
    fn pipes_are_read_to_their_end_and_hold_up_nobody() {
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
        // A file of our own is no pipe.
        assert_eq!(read_own(&path, 10), None);
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is longer than 1048576 bytes");
        assert_eq!(read(Path::new("/dev/null")).unwrap().bytes.len(), 0);
        assert_eq!(read(Path::new("/")).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_mode_that_lets_others_read_and_write_is_told_once() {
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
