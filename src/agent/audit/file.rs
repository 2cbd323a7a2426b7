//! An open audit log, to which each line is written whole or not at all.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::error::escape;
use crate::platform::private_file::{is_deleted, open_log};
use crate::platform::stdio::{is_writable_now, stdout_file};

/// Bytes that a writable pipe accepts without blocking.
const PIPE_WRITE: usize = 4096;

/// How far back the start of an incomplete line is searched for.
const LONGEST_REST: u64 = 64 * 1024;

/// How often a lock that another process holds is tried, a millisecond apart.
const LOCK_TRIES: u32 = 20;

/// Writes `line` to the log at `path` as an agent would, and removes the file if it was missing.
///
/// # Errors
/// Why it cannot be written.
pub(super) fn probe(path: &Path, line: &str) -> io::Result<()> {
    let absent = path.symlink_metadata().is_err();
    let written = AuditFile::open(path)?.write(line.as_bytes(), &mut 0);
    if absent {
        // It belongs to the user who checks, and the agent may run as another.
        std::fs::remove_file(path)?;
    }
    written
}

/// An open file, or stdout.
#[derive(Debug)]
pub(super) struct AuditFile {
    file: File,
    /// A regular file: part of a line can be taken back from its end.
    appends: bool,
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { file: stdout_file()?, appends: false });
        }
        let log = open_log(path)?;
        for exposure in &log.exposures {
            log::warn!("audit-log: {exposure}: {}", exposure.fix());
        }
        let file = log.file;
        let appends = file.metadata()?.is_file();
        Ok(Self { file, appends })
    }

    /// Whether the file was deleted: what is written to it is lost.
    pub(super) fn is_deleted(&self) -> bool {
        self.appends && is_deleted(&self.file)
    }

    /// Writes what is left of `line` after its first `begun` bytes, and counts the bytes written in `begun`.
    pub(super) fn write(&self, line: &[u8], begun: &mut usize) -> io::Result<()> {
        if self.appends { self.append(line, begun) } else { self.write_now(line, begun) }
    }

    /// Writes to a pipe or a device as much as it takes at once.
    fn write_now(&self, line: &[u8], begun: &mut usize) -> io::Result<()> {
        while *begun < line.len() {
            if !is_writable_now(&self.file)? {
                return Err(io::Error::new(ErrorKind::WouldBlock, "nobody reads it"));
            }
            let piece = &line[*begun..line.len().min(*begun + PIPE_WRITE)];
            match (&self.file).write(piece) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *begun += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn append(&self, line: &[u8], begun: &mut usize) -> io::Result<()> {
        let _lock = Lock::take(&self.file);
        if *begun == 0 {
            self.complete_last_line()?;
        }
        let before = self.file.metadata()?.len();
        let rest = &line[*begun..];
        let mut written = 0;
        let failure = loop {
            match (&self.file).write(&rest[written..]) {
                Ok(0) => break ErrorKind::WriteZero.into(),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
            if written == rest.len() {
                return Ok(());
            }
        };
        // Take part of a line back, unless another process has appended to it or the file cannot be truncated.
        let is_last = self.file.metadata().is_ok_and(|file| file.len() == before + written as u64);
        if written > 0 && !(is_last && self.file.set_len(before).is_ok()) {
            *begun += written;
        }
        Err(failure)
    }

    /// Makes the file end with a whole line. A kill or a power failure in the middle of one leaves it incomplete.
    fn complete_last_line(&self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let start = length.saturating_sub(LONGEST_REST);
        let mut last = [0];
        // A file that cannot be read stays as it is.
        if length == 0 || self.read_at(&mut last, length - 1).is_err() || last == *b"\n" {
            return Ok(());
        }
        let mut tail = vec![0; usize::try_from(length - start).unwrap_or_default()];
        self.read_at(&mut tail, start)?;
        let line = tail.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        let line = line.or((start == 0).then_some(0));
        // A line that no agent has written stays.
        if let Some(line) = line.filter(|line| matches!(tail[*line], b'{' | 0))
            && self.file.set_len(start + line as u64).is_ok()
        {
            let rest = String::from_utf8_lossy(&tail[line..]);
            log::error!("audit-log: removed an incomplete line: {}", escape(&rest));
            return Ok(());
        }
        (&self.file).write_all(b"\n")
    }

    /// Reads from `offset`. Writing is not affected: it always appends.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(offset))?;
        (&self.file).read_exact(buffer)
    }
}

/// Locks the file against other agents while one writes a line.
struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    /// `None` if the file system has no locks, or another process holds one for long. Lines stay whole without a lock as
    /// long as the disk has room.
    fn take(file: &'a File) -> Option<Self> {
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Some(Self(file)),
                Err(std::fs::TryLockError::WouldBlock) => sleep(Duration::from_millis(1)),
                Err(std::fs::TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing the file releases it at the latest.
        let _ = self.0.unlock();
    }
}
