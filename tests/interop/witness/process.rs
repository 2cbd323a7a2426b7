//! A child process whose every wait is bounded and which never outlives the test.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How long anything may take before the test gives up: generous, for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a process ended and what it said after what was read of it.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; -1 for death by a signal.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Receiver<()>,
    output: Receiver<Vec<u8>>,
    /// Read from `output` but not yet asked for.
    unread: Vec<u8>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_closed: Receiver<()>,
    deadline: Instant,
}

impl Process {
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_with_patience(name, command, PATIENCE)
    }

    pub fn start_with_patience(name: &str, command: &mut Command, patience: Duration) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let output = chunks_of(child.stdout.take().expect("stdout is piped"));
        let (stderr, stderr_closed) = collect(child.stderr.take().expect("stderr is piped"));
        let ended = end_of(&child);
        let deadline = Instant::now() + patience;
        Self {
            name: name.to_owned(),
            child,
            ended,
            output,
            unread: Vec::new(),
            stderr,
            stderr_closed,
            deadline,
        }
    }

    /// The first line on stdout, which has to begin with `ready`.
    pub fn ready(&mut self) -> String {
        let length = loop {
            if let Some(at) = self.unread.iter().position(|&byte| byte == b'\n') {
                break at + 1;
            }
            assert!(self.read_some(), "{} ended before it was ready\n{}", self.name, self.stderr_so_far());
        };
        let line: Vec<u8> = self.unread.drain(..length).collect();
        let line = String::from_utf8(line).expect("a ready line is text");
        assert!(line.starts_with("ready"), "{} said {line:?}", self.name);
        line.trim_end().to_owned()
    }

    /// The next `count` bytes of stdout; fewer when it ends before.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && self.read_some() {}
        let count = count.min(self.unread.len());
        self.unread.drain(..count).collect()
    }

    /// Writes in a thread of its own, for the child may stop reading until its output is read.
    /// Hands stdin back so that the caller decides when it ends.
    pub fn write(&mut self, data: Vec<u8>) -> Receiver<ChildStdin> {
        let mut stdin = self.child.stdin.take().expect("stdin has not been taken");
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // A child that ended early is reported by what it failed to answer.
            if stdin.write_all(&data).is_ok() {
                drop(sender.send(stdin));
            }
        });
        receiver
    }

    pub fn terminate(self) -> Finished {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("an unreaped child can be signalled");
        self.finish()
    }

    /// Waits for the end. Stdin stays as it is: a program that waits for its end is found out.
    pub fn finish(mut self) -> Finished {
        while self.read_some() {}
        if self.ended.recv_timeout(self.left()) == Err(RecvTimeoutError::Timeout) {
            self.give_up("it closed stdout but did not end");
        }
        if self.stderr_closed.recv_timeout(self.left()) == Err(RecvTimeoutError::Timeout) {
            self.give_up("it ended, but something keeps its stderr open");
        }
        let status = self.child.wait().expect("a child can be waited for").code().unwrap_or(-1);
        Finished { status, stdout: std::mem::take(&mut self.unread), stderr: self.stderr_so_far() }
    }

    fn read_some(&mut self) -> bool {
        match self.output.recv_timeout(self.left()) {
            Ok(chunk) => {
                self.unread.extend(chunk);
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => self.give_up("it neither said more nor ended"),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn give_up(&self, why: &str) -> ! {
        panic!("{}: {why}; stderr:\n{}", self.name, self.stderr_so_far())
    }

    fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().expect("no reader panics")).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // By pid, and only while the pid is ours: `Child` knows whether it was reaped.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Tells when the child has ended but leaves it unreaped, so that its pid stays its own.
fn end_of(child: &Child) -> Receiver<()> {
    let pid = Pid::from_child(child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .is_err_and(|error| error == rustix::io::Errno::INTR)
        {}
        let _ = sender.send(());
    });
    receiver
}

fn chunks_of(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn collect(stream: impl Read + Send + 'static) -> (Arc<Mutex<Vec<u8>>>, Receiver<()>) {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let (closed, receiver) = mpsc::channel();
    let (chunks, shared) = (chunks_of(stream), Arc::clone(&collected));
    thread::spawn(move || {
        for chunk in chunks {
            shared.lock().expect("no reader panics").extend(chunk);
        }
        let _ = closed.send(());
    });
    (collected, receiver)
}
