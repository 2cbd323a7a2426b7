//! An open audit log: a line is there whole or not at all.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::escape;
use crate::platform::private_file::open_log;

/// What a pipe that can be written to takes without blocking.
const PIECE: usize = 4096;

/// How far back the beginning of a line without an end is looked for.
const LONGEST_REST: u64 = 64 * 1024;

/// How often, a millisecond apart, a lock is tried that another process holds.
const LOCK_TRIES: u32 = 20;

/// Writes `line` as an agent would, to see whether it can.
///
/// # Errors
/// Why it cannot.
pub(super) fn probe(path: &Path, line: &str) -> io::Result<()> {
    let absent = path.symlink_metadata().is_err();
    let written = Sink::open(path)?.write(line.as_bytes(), &mut 0);
    if absent {
        // It belongs to whoever checks, and the agent may be another user.
        std::fs::remove_file(path)?;
    }
    written
}

/// An open file, or stdout.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// A regular file of ours, which is written at its end alone: a part of a line can be taken back.
    appends: bool,
}

impl Sink {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { file: io::stdout().as_fd().try_clone_to_owned()?.into(), appends: false });
        }
        let log = open_log(path)?;
        for exposure in &log.exposures {
            log::warn!("audit-log: {exposure}: {}", exposure.fix());
        }
        let file = log.file;
        let appends = file.metadata()?.is_file();
        Ok(Self { file, appends })
    }

    /// Whether the file has no name any more: what is written to it goes nowhere.
    pub(super) fn is_deleted(&self) -> bool {
        self.appends && self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Writes `line`, of which `begun` bytes are there already, and keeps count of them.
    pub(super) fn write(&self, line: &[u8], begun: &mut usize) -> io::Result<()> {
        if self.appends { self.append(line, begun) } else { self.pass_on(line, begun) }
    }

    /// As far as it goes without waiting for a reader.
    fn pass_on(&self, line: &[u8], begun: &mut usize) -> io::Result<()> {
        while *begun < line.len() {
            let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
            if poll(&mut ready, Some(&Timespec::default()))? == 0 {
                return Err(io::Error::new(ErrorKind::WouldBlock, "nobody reads it"));
            }
            let piece = &line[*begun..line.len().min(*begun + PIECE)];
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
            self.settle_end()?;
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
        // A part of it is taken back, unless somebody else has written behind it or the file cannot be made shorter.
        let is_last = self.file.metadata().is_ok_and(|file| file.len() == before + written as u64);
        if written > 0 && !(is_last && self.file.set_len(before).is_ok()) {
            *begun += written;
        }
        Err(failure)
    }

    /// Sees to it that a line begins where the file ends: a process may have been killed, or a machine lost its power,
    /// in the middle of one.
    fn settle_end(&self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let start = length.saturating_sub(LONGEST_REST);
        let mut last = [0];
        // A file that cannot be read is taken as it is.
        if length == 0 || self.file.read_exact_at(&mut last, length - 1).is_err() || last == *b"\n" {
            return Ok(());
        }
        let mut tail = vec![0; usize::try_from(length - start).unwrap_or_default()];
        self.file.read_exact_at(&mut tail, start)?;
        let line = tail.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        let line = line.or((start == 0).then_some(0));
        // What no agent has written is left alone.
        if let Some(line) = line.filter(|line| matches!(tail[*line], b'{' | 0))
            && self.file.set_len(start + line as u64).is_ok()
        {
            let rest = String::from_utf8_lossy(&tail[line..]);
            log::error!("audit-log: a line that had no end was taken away: {}", escape(&rest));
            return Ok(());
        }
        (&self.file).write_all(b"\n")
    }
}

/// What keeps agents that share a file apart, for as long as one writes a line.
struct Lock<'a>(&'a File);

impl<'a> Lock<'a> {
    /// None where there are no locks, or somebody holds one for long: a line is whole without, while the disk has room.
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
        // It ends with the file at the latest.
        let _ = self.0.unlock();
    }
}
