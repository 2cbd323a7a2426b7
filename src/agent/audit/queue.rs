//! The lines of the audit log that wait to be written, up to a limit.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file::AuditFile;
use super::line::lost;
use crate::platform::service_manager;

/// The most that waits while the log cannot be written, in bytes.
const MOST_WAITING: usize = 1 << 20;

/// How often writing is retried while there is no new line.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(5);

/// How often the same problem is reported again.
const REMINDER: Duration = Duration::from_secs(10 * 60);

/// The configured log, and the lines that could not be written to it yet.
#[derive(Debug)]
pub(super) struct Queue {
    /// `-` is stdout.
    path: Option<PathBuf>,
    /// The open log, which is the one of the previous configuration while `path` cannot be opened.
    file: Option<AuditFile>,
    /// Whether `path` has yet to be opened.
    stale: bool,
    waiting: VecDeque<String>,
    waiting_bytes: usize,
    /// Bytes of the first waiting line that are written.
    begun: usize,
    /// Lines dropped because too many waited.
    lost: u64,
    /// The problem, and when it was reported.
    trouble: Option<(String, Instant)>,
}

impl Queue {
    pub(super) fn open(path: Option<&Path>) -> Self {
        let mut queue = Self {
            path: None,
            file: None,
            stale: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            begun: 0,
            lost: 0,
            trouble: None,
        };
        queue.reopen(path);
        queue
    }

    /// Opens the file at `path`. Until that succeeds, lines go to the file that is open.
    pub(super) fn reopen(&mut self, path: Option<&Path>) {
        self.path = path.map(Path::to_owned);
        self.stale = true;
        self.flush();
    }

    pub(super) fn write(&mut self, line: String) {
        if self.path.is_none() {
            return;
        }
        // The line about the lost ones comes first.
        if self.lost > 0 || self.waiting_bytes + line.len() > MOST_WAITING {
            self.lost += 1;
            log::error!("audit-log {}: lost: {}", self.name(), line.trim_end());
        } else {
            self.waiting_bytes += line.len();
            self.waiting.push_back(line);
        }
        self.flush();
    }

    /// Whether lines wait, or the file has yet to be opened.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Tries to write every line that waits.
    pub(super) fn flush(&mut self) {
        match self.try_flush() {
            Ok(()) if self.trouble.take().is_some() => {
                log::warn!("audit-log {}: writing again", self.name());
                service_manager::trouble(None);
            }
            Ok(()) => {}
            Err(error) => {
                let problem = format!("audit-log {}: {error}", self.name());
                let reported = self
                    .trouble
                    .take()
                    .filter(|(reported, at)| *reported == problem && at.elapsed() < REMINDER);
                if reported.is_none() {
                    log::error!(
                        "{problem}: {} lines are waiting, trying again every {} s",
                        self.waiting.len(),
                        RETRY_EVERY.as_secs()
                    );
                    service_manager::trouble(Some(problem.clone()));
                }
                self.trouble = Some(reported.unwrap_or_else(|| (problem, Instant::now())));
            }
        }
    }

    fn try_flush(&mut self) -> io::Result<()> {
        let opened = self.refresh();
        let Some(file) = &self.file else {
            // Without a configured log nothing needs to wait.
            if self.path.is_none() {
                self.discard();
            }
            return opened;
        };
        while let Some(line) = self.waiting.front() {
            file.write(line.as_bytes(), &mut self.begun)?;
            self.begun = 0;
            self.waiting_bytes -= line.len();
            self.waiting.pop_front();
            if self.waiting.is_empty() && self.lost > 0 {
                let marker = lost(std::mem::take(&mut self.lost));
                self.waiting_bytes += marker.len();
                self.waiting.push_back(marker);
            }
        }
        opened
    }

    /// Opens the file if it has yet to be opened, or was deleted.
    fn refresh(&mut self) -> io::Result<()> {
        if self.file.as_ref().is_some_and(AuditFile::is_deleted) {
            (self.file, self.stale) = (None, true);
        }
        if !self.stale {
            return Ok(());
        }
        let file = self.path.as_deref().map(AuditFile::open).transpose()?;
        // A line that was begun in another file starts over.
        (self.file, self.stale, self.begun) = (file, false, 0);
        Ok(())
    }

    fn discard(&mut self) {
        for line in self.waiting.drain(..) {
            log::error!("audit-log: lost: {}", line.trim_end());
        }
        (self.waiting_bytes, self.begun, self.lost) = (0, 0, 0);
    }

    fn name(&self) -> String {
        match &self.path {
            Some(path) if path == Path::new("-") => "stdout".into(),
            Some(path) => path.display().to_string(),
            None => "none".into(),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.flush();
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    use super::super::file::probe;

    fn line(number: usize) -> String {
        format!("{{\"number\":{number}}}\n")
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn an_incomplete_line_at_the_end_is_removed_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let whole = line(1);
        for (before, after) in [
            (whole.clone(), whole.clone()),
            (format!("{whole}{{\"number\":"), whole.clone()),
            (format!("{whole}\0\0\0"), whole.clone()),
            ("{\"numb".into(), String::new()),
            // A line that no agent has written stays.
            ("a remark".into(), "a remark\n".into()),
            (format!("{whole}{}", "x".repeat(100_000)), format!("{whole}{}\n", "x".repeat(100_000))),
        ] {
            std::fs::write(&path, before).unwrap();
            let mut queue = Queue::open(Some(&path));
            queue.write(line(2));
            assert_eq!(text(&path), after + &line(2));
            // Another process that shares the file left it.
            std::fs::write(&path, format!("{whole}{{\"num")).unwrap();
            queue.write(line(3));
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
                    let mut queue = Queue::open(Some(&path));
                    (0..500).for_each(|number| queue.write(line(number)));
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
    fn waiting_lines_are_limited_and_lost_ones_counted() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("later");
        let path = below.join("audit.log");
        let mut queue = Queue::open(Some(&path));
        let long = "x".repeat(1000);
        for number in 0..2000 {
            queue.write(format!("{{\"number\":{number},\"long\":\"{long}\"}}\n"));
        }
        assert!(queue.is_in_trouble() && queue.waiting_bytes <= MOST_WAITING);
        std::fs::create_dir(&below).unwrap();
        queue.flush();
        assert!(!queue.is_in_trouble());
        queue.write(line(2000));
        let lines: Vec<serde_json::Value> =
            text(&path).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [.., marker, last] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(marker["event"], "lost");
        assert_eq!(marker["lines"].as_u64().unwrap() + lines.len() as u64 - 2, 2000);
        assert_eq!((&lines[1]["number"], &last["number"]), (&1.into(), &2000.into()));
    }

    #[test]
    fn a_deleted_file_is_created_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut queue = Queue::open(Some(&path));
        queue.write(line(1));
        std::fs::remove_file(&path).unwrap();
        queue.write(line(2));
        assert_eq!(text(&path), line(2));
        // While it cannot be created, nothing is written to the deleted one.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        queue.write(line(3));
        assert!(queue.is_in_trouble());
        std::fs::remove_dir(&path).unwrap();
        queue.write(line(4));
        assert_eq!(text(&path), line(3) + &line(4));
    }

    #[test]
    fn a_fifo_without_a_reader_does_not_block() {
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
        let mut queue = Queue::open(Some(&path));
        // More than a FIFO takes, in lines of more than it takes at once.
        let lines: Vec<String> = (0..100).map(|_| format!("{}\n", "x".repeat(9999))).collect();
        lines.iter().for_each(|line| queue.write(line.clone()));
        assert!(queue.is_in_trouble());
        let mut reader = File::options()
            .read(true)
            .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap())
            .open(&path)
            .unwrap();
        let mut read = Vec::new();
        while read.len() < 1_000_000 {
            queue.flush();
            // It is empty in between.
            let _ = reader.read_to_end(&mut read);
        }
        assert!(!queue.is_in_trouble());
        assert_eq!(String::from_utf8(read).unwrap(), lines.concat());
    }

    #[test]
    fn writing_is_retried_after_a_full_disk() {
        let mut queue = Queue::open(Some(Path::new("/dev/full")));
        queue.write(line(1));
        assert!(queue.is_in_trouble());
        assert!(probe(Path::new("/dev/full"), &line(1)).is_err());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        queue.reopen(Some(&path));
        assert_eq!(text(&path), line(1));
        // Probing leaves no file behind.
        let other = directory.path().join("other");
        probe(&other, &line(1)).unwrap();
        assert!(!other.exists());
        assert!(probe(&directory.path().join("no/such"), &line(1)).is_err());
    }
}
