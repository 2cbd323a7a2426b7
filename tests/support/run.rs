use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::eventually;

/// What a command finds on its stdin, which is a pipe, as under ssh.
#[derive(Clone, Copy)]
pub enum Stdin<'a> {
    /// These bytes, then the end.
    Ends(&'a [u8]),
    /// These bytes (at most a pipe's fill), there before the command starts; then nothing more, but no end.
    Stays(&'a [u8]),
}

/// How a command ended, and all it said.
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

/// Runs a command to its end, and until nothing holds its stdout or stderr any more.
///
/// # Panics
/// When that takes longer than `limit`.
#[track_caller]
pub fn run(command: &mut Command, stdin: Stdin<'_>, limit: Duration) -> Finished {
    let deadline = Instant::now() + limit;
    let (reader, mut writer) = io::pipe().unwrap();
    let (first, rest, stays) = match stdin {
        Stdin::Ends(bytes) => (&b""[..], bytes.to_vec(), false),
        Stdin::Stays(bytes) => (bytes, Vec::new(), true),
    };
    writer.write_all(first).unwrap();
    let mut child = spawn(command.stdin(reader).stderr(Stdio::piped()));
    // A pipe's end stays open while a Command that was given it lives.
    command.stdin(Stdio::null());
    let held = if stays {
        Some(writer)
    } else {
        // The command may end without having read it all.
        thread::spawn(move || writer.write_all(&rest));
        None
    };
    let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let left = || deadline.saturating_duration_since(Instant::now());
    let status = wait(&mut child, command, left());
    drop(held);
    let all = |stream: &str, from: Receiver<Vec<u8>>| {
        from.recv_timeout(left())
            .unwrap_or_else(|_| panic!("something still holds the {stream} of {command:?}"))
    };
    let stdout = all("stdout", stdout);
    let stderr = String::from_utf8_lossy(&all("stderr", stderr)).into_owned();
    Finished { status, stdout, stderr }
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        // Nobody listens where the test has given up.
        let _ = tell.send(all);
    });
    told
}

#[track_caller]
fn wait(child: &mut Child, command: &Command, limit: Duration) -> ExitStatus {
    eventually(limit, || child.try_wait().unwrap().ok_or_else(|| format!("{command:?} ends")))
}
