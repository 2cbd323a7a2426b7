use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{eventually, peak_rss_kib};

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

/// What became of random bytes sent through a command that is to give them all back.
pub struct Exchange {
    pub sent: String,
    pub received: String,
    /// Bytes after the last that was sent.
    pub beyond: usize,
    pub status: ExitStatus,
    pub peak_rss_kib: u64,
}

/// Sends `length` random bytes while it reads as many back, then closes stdin.
///
/// # Panics
/// When that takes longer than `limit`.
#[track_caller]
pub fn exchange(command: &mut Command, length: u64, limit: Duration) -> Exchange {
    const CHUNK: usize = 64 << 10;
    let deadline = Instant::now() + limit;
    let mut child = spawn(command.stdin(Stdio::piped()).stderr(Stdio::inherit()));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = thread::spawn(move || {
        let mut hash = Sha256::new();
        let mut left = length;
        while left > 0 {
            let chunk = super::random(CHUNK.min(usize::try_from(left).unwrap()));
            hash.update(&chunk);
            stdin.write_all(&chunk).unwrap();
            left -= chunk.len() as u64;
        }
        (hash, stdin)
    });
    let (tell, told) = mpsc::channel();
    let (tell_rest, rest) = mpsc::channel();
    thread::spawn(move || {
        let mut hash = HashWriter(Sha256::new());
        let count = io::copy(&mut (&mut stdout).take(length), &mut hash);
        // Nobody listens where the test has given up.
        let _ = tell.send((hash, count));
        let mut rest = Vec::new();
        let _ = tell_rest.send(stdout.read_to_end(&mut rest).map(|_| rest));
    });
    let left = || deadline.saturating_duration_since(Instant::now());
    let (received, count) = told
        .recv_timeout(left())
        .unwrap_or_else(|_| panic!("{length} bytes did not come back within {limit:?} through {command:?}"));
    assert_eq!(count.unwrap(), length, "bytes that came back through {command:?}");
    let peak_rss_kib = peak_rss_kib(child.id());
    let (sent, stdin) = writer.join().unwrap();
    drop(stdin);
    let status = wait(&mut child, command, left());
    let beyond = rest.recv_timeout(left()).unwrap().unwrap().len();
    Exchange { sent: hex(sent), received: hex(received.0), beyond, status, peak_rss_kib }
}

struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(hash: Sha256) -> String {
    data_encoding::HEXLOWER.encode(&hash.finalize())
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
