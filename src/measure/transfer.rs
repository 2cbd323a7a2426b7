//! Throughput in one direction. It counts bytes that have arrived, since sent bytes may still be in a buffer. Each
//! direction includes one round trip: for the returned count, or for the request.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use super::stream::not_the_builtin;
use crate::error::Result;

/// Bytes written or read at a time.
const CHUNK: usize = 64 * 1024;
/// The longest line of a discard target in bytes: a number and its line feed.
const LONGEST_COUNT: u64 = 32;

/// The progress of a transfer. It stays valid when the transfer is interrupted.
#[derive(Debug)]
pub(crate) struct Transfer {
    since: Instant,
    bytes: Cell<u64>,
    took: Cell<Duration>,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { since: Instant::now(), bytes: Cell::new(0), took: Cell::new(Duration::ZERO) }
    }
}

impl Transfer {
    /// Bytes known to have arrived.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// The time from the start until the last of them was known to have arrived.
    pub(crate) fn took(&self) -> Duration {
        self.took.get()
    }

    /// Bits per second so far; zero before the first byte.
    pub(crate) fn rate(&self) -> f64 {
        let seconds = self.took().as_secs_f64();
        if seconds > 0.0 { self.bytes() as f64 * 8.0 / seconds } else { 0.0 }
    }

    fn arrived(&self, bytes: u64) {
        self.bytes.set(bytes);
        self.took.set(self.since.elapsed());
    }
}

/// Sends `size` bytes to the discard behind `stream` until it has counted them all. Returns `false` if the stream ended
/// first.
///
/// Cancel-safe for `transfer`. The stream cannot be used afterwards.
///
/// # Errors
/// Returns [`crate::error::Error::Target`] if the peer is not a discard target.
pub(crate) async fn upload(
    stream: &str,
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    size: u64,
    transfer: &Transfer,
) -> Result<bool> {
    let send = async {
        let chunk = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let count = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            if write.write_all(&chunk[..count]).await.is_err() {
                break;
            }
            left -= count as u64;
        }
        // The reading half reports a failure.
        let _ = write.flush().await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        counted = counts(stream, read, size, transfer) => counted,
        never = send => never,
    }
}

/// Reads the discard's counts, line by line, until they reach `size`.
async fn counts(stream: &str, read: impl AsyncRead + Unpin, size: u64, transfer: &Transfer) -> Result<bool> {
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let read = (&mut lines).take(LONGEST_COUNT).read_until(b'\n', &mut line).await;
        if read.is_err() || line.is_empty() {
            return Ok(false);
        }
        let count =
            line.strip_suffix(b"\n").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(count) = count.filter(|count| (transfer.bytes()..=size).contains(count)) else {
            return not_the_builtin(stream, "it does not count what it is sent", "discard");
        };
        transfer.arrived(count);
        if count == size {
            return Ok(true);
        }
    }
}

/// Requests `size` bytes from the source behind `stream` and reads them. Returns `false` if the stream ended first.
///
/// Cancel-safe for `transfer`. The stream cannot be used afterwards.
///
/// # Errors
/// Returns [`crate::error::Error::Target`] if the peer is not a source target.
pub(crate) async fn download(
    stream: &str,
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
    size: u64,
    transfer: &Transfer,
) -> Result<bool> {
    let mut room = vec![0; CHUNK];
    if write.write_all(format!("{size}\n").as_bytes()).await.is_err() || write.flush().await.is_err() {
        return Ok(false);
    }
    while transfer.bytes() < size {
        match read.read(&mut room).await {
            Ok(0) | Err(_) => return Ok(false),
            Ok(count) if room[..count].iter().any(|byte| *byte != 0) => {
                return not_the_builtin(stream, "it sends other bytes than zeros", "source");
            }
            Ok(count) => transfer.arrived(size.min(transfer.bytes() + count as u64)),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Builtin;
    use tokio::io::{copy, duplex, split};

    /// Measures against one of the agent's built-in targets.
    async fn against(builtin: Builtin, size: u64, transfer: &Transfer) -> Result<bool> {
        let (ours, theirs) = duplex(4096);
        let (read, write) = split(ours);
        let (mut from_us, mut to_us) = split(theirs);
        let (mut service_read, mut service_write) = builtin.connect();
        let service = async {
            let ended =
                tokio::join!(copy(&mut from_us, &mut service_write), copy(&mut service_read, &mut to_us));
            // The stream stays open, so that the measurement ends by the size alone.
            drop(ended);
            std::future::pending().await
        };
        let measure = async {
            match builtin {
                Builtin::Source => download("source", read, write, size, transfer).await,
                _ => upload("discard", read, write, size, transfer).await,
            }
        };
        tokio::select! {
            done = measure => done,
            never = service => never,
        }
    }

    #[tokio::test]
    async fn counts_every_arrived_byte() {
        for size in [1, CHUNK as u64 * 3 + 7] {
            for builtin in [Builtin::Discard, Builtin::Source] {
                let transfer = Transfer::default();
                assert!(against(builtin, size, &transfer).await.unwrap(), "{builtin:?}");
                assert_eq!(transfer.bytes(), size, "{builtin:?}");
                assert!(transfer.took() > Duration::ZERO && transfer.rate() > 0.0);
            }
        }
    }

    #[tokio::test]
    async fn another_target_is_an_error() {
        let transfer = Transfer::default();
        let done = against(Builtin::Echo, 100, &transfer).await;
        assert!(done.unwrap_err().to_string().contains("not the agent's builtin discard"));
        assert_eq!(transfer.bytes(), 0);
    }
}
