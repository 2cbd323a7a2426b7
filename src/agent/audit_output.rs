//! What becomes of the lines of the audit log: one that cannot be written waits, and what waits is bounded.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::audit_sink::Sink;
use crate::platform::service_manager;

/// The most that waits for a disk to have room again, in bytes.
const MOST_WAITING: usize = 1 << 20;

/// How often that is tried, if there is nothing new to write.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// How often it is said that nothing is written.
const REMINDER: Duration = Duration::from_secs(10 * 60);

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
        if self.sink.as_ref().is_some_and(Sink::is_deleted) {
            (self.sink, self.stale) = (None, true);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    use crate::agent::audit_sink::probe;

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
        // Where it cannot be made, nothing goes to the one that was deleted.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        output.write(line(3));
        assert!(output.is_in_trouble());
        std::fs::remove_dir(&path).unwrap();
        output.write(line(4));
        assert_eq!(text(&path), line(3) + &line(4));
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
