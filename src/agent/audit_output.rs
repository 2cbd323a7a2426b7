//! Where the lines of the audit log go. Each is there whole or not at all, and one that cannot be written waits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::service_manager;
use crate::error::escape;

/// The most that waits for a disk to have room again, in bytes.
const MOST_WAITING: usize = 1 << 20;

/// How often that is tried, if there is nothing new to write.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// How often it is said that nothing is written.
const REMINDER: Duration = Duration::from_secs(10 * 60);

/// What a pipe that can be written to takes without blocking.
const PIECE: usize = 4096;

/// How far back the beginning of a line without an end is looked for.
const LONGEST_REST: u64 = 64 * 1024;

/// How often, a millisecond apart, a lock is tried that another process holds.
const LOCK_TRIES: u32 = 20;

/// The configured place, and what could not be written to it yet.
#[derive(Debug)]
pub(super) struct Output {
    /// `-` is stdout.
    path: Option<PathBuf>,
    /// What lines go to: of an earlier configuration where `path` cannot be opened.
    sink: Option<Sink>,
    /// Whether `path` is still to be opened.
    stale: bool,
    waiting: VecDeque<String>,
    waiting_bytes: usize,
    /// How much of the first waiting line is written.
    begun: usize,
    /// Lines that there was no memory for.
    lost: u64,
    /// What is wrong, and when that was said.
    trouble: Option<(String, Instant)>,
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Self {
        let mut output = Self {
            path: None,
            sink: None,
            stale: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            begun: 0,
            lost: 0,
            trouble: None,
        };
        output.reopen(path);
        output
    }

    /// Opens the file by its name again, or another one. Where that fails, lines go where they went before until it
    /// can be done.
    pub(super) fn reopen(&mut self, path: Option<&Path>) {
        self.path = path.map(Path::to_owned);
        self.stale = true;
        self.flush();
    }

    pub(super) fn write(&mut self, line: String) {
        if self.path.is_none() {
            return;
        }
        // What was lost is told of first.
        if self.lost > 0 || self.waiting_bytes + line.len() > MOST_WAITING {
            self.lost += 1;
            log::error!("audit-log {}: lost is {}", self.place(), line.trim_end());
        } else {
            self.waiting_bytes += line.len();
            self.waiting.push_back(line);
        }
        self.flush();
    }

    /// Whether lines wait, or the file is still to be opened.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Tries to write all that waits.
    pub(super) fn flush(&mut self) {
        match self.try_flush() {
            Ok(()) if self.trouble.take().is_some() => {
                log::warn!("audit-log {}: it is written again", self.place());
                service_manager::trouble(None);
            }
            Ok(()) => {}
            Err(error) => {
                let problem = format!("audit-log {}: {error}", self.place());
                let told =
                    self.trouble.take().filter(|(told, at)| *told == problem && at.elapsed() < REMINDER);
                if told.is_none() {
                    log::error!(
                        "{problem}: {} lines wait, and it is tried again every {} s",
                        self.waiting.len(),
                        AGAIN.as_secs()
                    );
                    service_manager::trouble(Some(problem.clone()));
                }
                self.trouble = Some(told.unwrap_or_else(|| (problem, Instant::now())));
            }
        }
    }

    fn try_flush(&mut self) -> io::Result<()> {
        let opened = self.refresh();
        let Some(sink) = &self.sink else {
            // With no place configured, nobody wants what waits for one.
            if self.path.is_none() {
                self.discard();
            }
            return opened;
        };
        while let Some(line) = self.waiting.front() {
            sink.write(line.as_bytes(), &mut self.begun)?;
            self.begun = 0;
            self.waiting_bytes -= line.len();
            self.waiting.pop_front();
            if self.waiting.is_empty() && self.lost > 0 {
                let marker = super::audit::lost(std::mem::take(&mut self.lost));
                self.waiting_bytes += marker.len();
                self.waiting.push_back(marker);
            }
        }
        opened
    }

    /// Opens what is to be opened.
    fn refresh(&mut self) -> io::Result<()> {
        self.stale |= self.sink.as_ref().is_some_and(Sink::is_deleted);
        if !self.stale {
            return Ok(());
        }
        let sink = self.path.as_deref().map(Sink::open).transpose()?;
        // A line that was begun elsewhere is written anew.
        (self.sink, self.stale, self.begun) = (sink, false, 0);
        Ok(())
    }

    fn discard(&mut self) {
        for line in self.waiting.drain(..) {
            log::error!("audit-log: lost is {}", line.trim_end());
        }
        (self.waiting_bytes, self.begun, self.lost) = (0, 0, 0);
    }

    fn place(&self) -> String {
        match &self.path {
            Some(path) if path == Path::new("-") => "stdout".into(),
            Some(path) => path.display().to_string(),
            None => "none".into(),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        self.discard();
    }
}

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

/// An open file.
#[derive(Debug)]
struct Sink {
    file: File,
    /// A regular file of ours, which is written at its end alone: a part of a line can be taken back.
    appends: bool,
}

impl Sink {
    fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { file: io::stdout().as_fd().try_clone_to_owned()?.into(), appends: false });
        }
        let regular = path.metadata().map_or(true, |file| file.is_file());
        let mut options = File::options();
        options.append(true).create(true).mode(0o600);
        // A FIFO that nobody reads holds up whoever opens it.
        options.custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default());
        let file = match options.read(regular).open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && regular => {
                options.read(false).open(path)?
            }
            opened => opened?,
        };
        let appends = file.metadata()?.is_file();
        Ok(Self { file, appends })
    }

    /// Whether the file has no name any more: what is written to it goes nowhere.
    fn is_deleted(&self) -> bool {
        self.appends && self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Writes `line`, of which `begun` bytes are there already, and keeps count of them.
    fn write(&self, line: &[u8], begun: &mut usize) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn line(number: usize) -> String {
        format!("{{\"number\":{number}}}\n")
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_begins_where_the_last_one_ended_whoever_was_killed_in_between() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let whole = line(1);
        for (before, after) in [
            (whole.clone(), whole.clone()),
            (format!("{whole}{{\"number\":"), whole.clone()),
            (format!("{whole}\0\0\0"), whole.clone()),
            ("{\"numb".into(), String::new()),
            // What is not ours stays.
            ("a remark".into(), "a remark\n".into()),
            (format!("{whole}{}", "x".repeat(100_000)), format!("{whole}{}\n", "x".repeat(100_000))),
        ] {
            std::fs::write(&path, before).unwrap();
            let mut output = Output::open(Some(&path));
            output.write(line(2));
            assert_eq!(text(&path), after + &line(2));
            // The same of a process that shares the file.
            std::fs::write(&path, format!("{whole}{{\"num")).unwrap();
            output.write(line(3));
            assert_eq!(text(&path), whole.clone() + &line(3));
        }
    }

    #[test]
    fn many_write_to_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut output = Output::open(Some(&path));
                    (0..500).for_each(|number| output.write(line(number)));
                });
            }
        });
        let mut lines: Vec<String> = text(&path).split_inclusive('\n').map(str::to_owned).collect();
        lines.sort();
        let mut expected: Vec<String> = (0..4).flat_map(|_| (0..500).map(line)).collect();
        expected.sort();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_lost_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("later");
        let path = below.join("audit.log");
        let mut output = Output::open(Some(&path));
        let long = "x".repeat(1000);
        for number in 0..2000 {
            output.write(format!("{{\"number\":{number},\"long\":\"{long}\"}}\n"));
        }
        assert!(output.is_in_trouble() && output.waiting_bytes <= MOST_WAITING);
        std::fs::create_dir(&below).unwrap();
        output.flush();
        assert!(!output.is_in_trouble());
        output.write(line(2000));
        let lines: Vec<serde_json::Value> =
            text(&path).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [.., marker, last] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(marker["event"], "lost");
        assert_eq!(marker["lines"].as_u64().unwrap() + lines.len() as u64 - 2, 2000);
        assert_eq!((&lines[1]["number"], &last["number"]), (&1.into(), &2000.into()));
    }

    #[test]
    fn a_deleted_file_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut output = Output::open(Some(&path));
        output.write(line(1));
        std::fs::remove_file(&path).unwrap();
        output.write(line(2));
        assert_eq!(text(&path), line(2));
    }

    #[test]
    fn nobody_at_the_other_end_of_a_fifo_holds_up_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let mut output = Output::open(Some(&path));
        // More than a FIFO takes, in lines of more than it takes at once.
        let lines: Vec<String> = (0..100).map(|_| format!("{}\n", "x".repeat(9999))).collect();
        lines.iter().for_each(|line| output.write(line.clone()));
        assert!(output.is_in_trouble());
        let mut reader = File::options()
            .read(true)
            .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap())
            .open(&path)
            .unwrap();
        let mut read = Vec::new();
        while read.len() < 1_000_000 {
            output.flush();
            // It is empty in between.
            let _ = reader.read_to_end(&mut read);
        }
        assert!(!output.is_in_trouble());
        assert_eq!(String::from_utf8(read).unwrap(), lines.concat());
    }

    #[test]
    fn a_full_disk_is_tried_again() {
        let mut output = Output::open(Some(Path::new("/dev/full")));
        output.write(line(1));
        assert!(output.is_in_trouble());
        assert!(probe(Path::new("/dev/full"), &line(1)).is_err());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        output.reopen(Some(&path));
        assert_eq!(text(&path), line(1));
        // A look leaves nothing behind.
        let other = directory.path().join("other");
        probe(&other, &line(1)).unwrap();
        assert!(!other.exists());
        assert!(probe(&directory.path().join("no/such"), &line(1)).is_err());
    }
}
