//! The writing half of a WebSocket. Payloads are read behind room for their header and framed in place.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{Close, HEADER_ROOM, Opcode, seal};
use crate::tunnel::buffer::Buffer;

/// Where payloads start in a buffer: behind room for a header, and aligned for fast copies.
const PAYLOAD: usize = 64;
const _: () = assert!(PAYLOAD >= HEADER_ROOM);

/// The size of a full frame with its room: the payload is below [`super::frame::MAX_PAYLOAD`], and the frame fills whole
/// TLS records.
const FRAME: usize = 65_536;

/// The largest payload on a slow connection. Small frames delay the next keystroke less.
const SHORT_FRAME: usize = 16_384;

/// The payload of the next frame.
pub(super) struct Payload {
    buffer: Buffer,
    count: usize,
}

impl Payload {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::take();
        buffer[PAYLOAD..][..bytes.len()].copy_from_slice(bytes);
        Self { buffer, count: bytes.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

/// The writing half of a WebSocket.
pub(super) struct Frames<S> {
    remote: S,
    keys: Keys,
    /// The connection did not accept the last frame at once.
    slow: bool,
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    pub(super) fn new(remote: S) -> Self {
        Self { remote, keys: Keys::new(), slow: false }
    }

    /// Reads up to one frame's payload from `local`; `None` is EOF.
    ///
    /// Cancel-safe: bytes are read only in the poll that returns them.
    pub(super) async fn payload(&self, local: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Payload>> {
        let end = if self.slow { PAYLOAD + SHORT_FRAME } else { FRAME };
        let (buffer, count) = Buffer::read(local, PAYLOAD..end).await?;
        Ok((count > 0).then_some(Payload { buffer, count }))
    }

    /// Sends a data frame. Not cancel-safe.
    pub(super) async fn data(&mut self, payload: Payload) -> io::Result<()> {
        self.send(Opcode::Binary, payload).await
    }

    /// Sends a pong, a ping or both. Not cancel-safe.
    pub(super) async fn control(&mut self, ping: bool, pong: Option<&[u8]>) -> io::Result<()> {
        if let Some(payload) = pong {
            self.send(Opcode::Pong, Payload::of(payload)).await?;
        }
        if ping {
            self.send(Opcode::Ping, Payload::of(&[])).await?;
        }
        Ok(())
    }

    /// Sends a Close. Not cancel-safe.
    pub(super) async fn close(&mut self, close: &Close) -> io::Result<()> {
        self.send(Opcode::Close, Payload::of(&close.payload())).await
    }

    /// Shuts the connection down, including TLS.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.remote.shutdown().await
    }

    async fn send(&mut self, opcode: Opcode, payload: Payload) -> io::Result<()> {
        let Payload { mut buffer, count } = payload;
        let frame = seal(&mut buffer, PAYLOAD..PAYLOAD + count, opcode, self.keys.next());
        self.remote.write_all(&buffer[frame]).await?;
        drop(buffer);
        // TLS buffers what the socket does not accept at once.
        self.slow = false;
        poll_fn(|cx| {
            let flushed = Pin::new(&mut self.remote).poll_flush(cx);
            self.slow |= flushed.is_pending();
            flushed
        })
        .await
    }
}

/// Masking keys, read from the system's random numbers 256 at a time.
struct Keys {
    pool: [[u8; 4]; 256],
    used: usize,
}

impl Keys {
    fn new() -> Self {
        Self { pool: [[0; 4]; 256], used: 256 }
    }

    fn next(&mut self) -> [u8; 4] {
        if self.used == self.pool.len() {
            // TLS needed the same source.
            getrandom::fill(self.pool.as_flattened_mut()).expect("the system has randomness");
            self.used = 0;
        }
        self.used += 1;
        self.pool[self.used - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_has_a_key_of_its_own() {
        let mut keys = Keys::new();
        let used: std::collections::HashSet<_> = (0..600).map(|_| keys.next()).collect();
        // Two of them may be the same by chance.
        assert!(used.len() > 595, "{}", used.len());
    }
}
