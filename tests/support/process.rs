use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A process on pipes, as under ssh. It ends with its test, and shows what it said where the test fails.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<PipeWriter>,
    stdout: Output,
    stderr: Output,
    /// How much of stdout the test has read.
    read: usize,
}

/// How a process ended, and what it said: on stdout, after what was read before.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{:?}: {}", self.status, self.stderr);
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

impl Process {
    /// Starts one whose stdin stays open.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with(name, command, b"")
    }

    /// The same with `first` in stdin, at most a pipe's fill, before it starts.
    pub fn start_with(name: &str, command: &mut Command, first: &[u8]) -> Self {
        let (reader, mut stdin) = io::pipe().unwrap();
        stdin.write_all(first).unwrap();
        let mut child = command
            .stdin(reader)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        // The command would keep the reading end open.
        command.stdin(Stdio::null());
        let (stdout, stderr) =
            (Output::of(child.stdout.take().unwrap()), Output::of(child.stderr.take().unwrap()));
        Self { name: name.into(), child, stdin: Some(stdin), stdout, stderr, read: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// All of stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// All of stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for `lines` whole lines on stdout or stderr that contain `text`, and returns the last of them.
    ///
    /// # Panics
    /// When they do not come in time, or the process ends before.
    #[track_caller]
    pub fn says(&mut self, text: &str, lines: usize, limit: Duration) -> String {
        eventually(limit, || {
            let ended = self.child.try_wait().unwrap();
            let said = self.stdout() + &self.stderr();
            let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.filter(|line| line.contains(text)).nth(lines - 1) {
                return Ok(line.trim_end().to_owned());
            }
            assert!(ended.is_none(), "{} ended ({ended:?}) and never said '{text}'", self.name);
            Err(format!("{} says '{text}' ({lines} times)", self.name))
        })
    }

    /// Waits for the next `count` bytes of stdout.
    #[track_caller]
    pub fn reads(&mut self, count: usize, limit: Duration) -> Vec<u8> {
        let bytes = eventually(limit, || {
            let taken = self.stdout.take();
            let unread = &taken.bytes[self.read..];
            match unread.get(..count) {
                Some(bytes) => Ok(bytes.to_owned()),
                None => Err(format!("{} writes {} of {count} bytes", self.name, unread.len())),
            }
        });
        self.read += count;
        bytes
    }

    /// Writes to its stdin.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The same to a process that may have ended.
    pub fn try_say(&mut self, text: &str) {
        let _ = self.stdin.as_mut().unwrap().write_all(text.as_bytes());
    }

    /// Writes much to its stdin while the test goes on. Stdin, which is returned once all is written, ends when it is
    /// dropped.
    pub fn write(&mut self, data: Vec<u8>) -> Receiver<PipeWriter> {
        let mut stdin = self.stdin.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // The test notices a process that ends early by its missing output.
            if stdin.write_all(&data).is_ok() {
                let _ = sender.send(stdin);
            }
        });
        receiver
    }

    pub fn close_stdin(&mut self) {
        drop(self.stdin.take());
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn ends(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, || {
            self.child.try_wait().unwrap().ok_or_else(|| format!("{} ends by itself", self.name))
        })
    }

    /// The same, and waits until stdout and stderr are closed. Stdin stays open until the process ends: one that waits
    /// for the end of stdin fails the test.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        let status = self.ends(limit);
        self.close_stdin();
        for (stream, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            eventually(deadline.saturating_duration_since(Instant::now()), || {
                let open = output.take().pipe.is_some();
                if open { Err(format!("nothing holds the {stream} of {}", self.name)) } else { Ok(()) }
            });
        }
        let stdout = self.stdout.take().bytes.split_off(self.read);
        Finished { status, stdout, stderr: self.stderr() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for (stream, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                if !text.is_empty() {
                    eprintln!("--- {stream} of {}:\n{text}", self.name);
                }
            }
        }
    }
}

/// What a process writes to a pipe. A thread empties the pipe, so that the process never waits for the test; each read
/// by the test empties it first, so that all that was written before is there.
struct Output(Arc<Mutex<Taken>>);

struct Taken {
    /// None once the other end is closed.
    pipe: Option<File>,
    bytes: Vec<u8>,
}

impl Output {
    fn of(pipe: impl Into<OwnedFd>) -> Self {
        let pipe = File::from(pipe.into());
        rustix::io::ioctl_fionbio(&pipe, true).unwrap();
        let readable = pipe.try_clone().unwrap();
        let taken = Arc::new(Mutex::new(Taken { pipe: Some(pipe), bytes: Vec::new() }));
        let output = Self(taken.clone());
        let reader = Self(taken);
        thread::spawn(move || {
            while reader.take().pipe.is_some() {
                // An interrupted poll is repeated.
                let _ = poll(&mut [PollFd::new(&readable, PollFlags::IN)], None);
            }
        });
        output
    }

    fn take(&self) -> MutexGuard<'_, Taken> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.empty_pipe();
        taken
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.take().bytes).into_owned()
    }
}

impl Taken {
    fn empty_pipe(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read_to_end(&mut self.bytes) {
            Ok(_) => self.pipe = None,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
    }
}
