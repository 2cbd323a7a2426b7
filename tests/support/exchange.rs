use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{eventually, peak_rss_kib};

/// The result of sending random bytes through a command that echoes them.
pub struct Exchange {
    pub sent: String,
    pub received: String,
    /// The count of bytes received after those.
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
        // The receiver is gone if the test has failed.
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

#[track_caller]
fn wait(child: &mut Child, command: &Command, limit: Duration) -> ExitStatus {
    eventually(limit, || child.try_wait().unwrap().ok_or_else(|| format!("{command:?} ends")))
}
