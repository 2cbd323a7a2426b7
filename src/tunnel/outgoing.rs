//! The writing half of a WebSocket: payloads are read behind room for their header, and framed where they lie.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{Close, HEADER_ROOM, Opcode, seal};
use crate::tunnel::buffer::Buffer;

/// Where payloads begin: behind room for a header, and where copies are fast.
const PAYLOAD: usize = 64;
const _: () = assert!(PAYLOAD >= HEADER_ROOM);

/// One frame with its room: the payload stays below [`super::MAX_PAYLOAD`], and the frame fills whole TLS records.
const FRAME: usize = 65_536;

/// The same on a line that does not keep up: what has been taken on is in front of the next keystroke.
const SHORT_FRAME: usize = 16_384;

/// The payload of a frame to come.
pub(super) struct Payload {
    buffer: Buffer,
    count: usize,
}

impl Payload {
    fn of(bytes: &[u8]) -> Self {
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
    /// The connection did not take the last frame at once.
    slow: bool,
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    pub(super) fn new(remote: S) -> Self {
        Self { remote, keys: Keys::new(), slow: false }
    }

    /// Takes what `local` has, up to a frame's fill, once it has something; `None` is EOF.
    ///
    /// Cancel-safe: bytes are taken only in the poll that returns them.
    pub(super) async fn payload(&self, local: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Payload>> {
        let end = if self.slow { PAYLOAD + SHORT_FRAME } else { FRAME };
        let (buffer, count) = Buffer::read(local, PAYLOAD..end).await?;
        Ok((count > 0).then_some(Payload { buffer, count }))
    }

    /// Sends a payload.
    pub(super) async fn data(&mut self, payload: Payload) -> io::Result<()> {
        self.send(Opcode::Binary, payload).await
    }

    /// Answers a ping, and pings.
    pub(super) async fn control(&mut self, ping: bool, pong: Option<&[u8]>) -> io::Result<()> {
        if let Some(payload) = pong {
            self.send(Opcode::Pong, Payload::of(payload)).await?;
        }
        if ping {
            self.send(Opcode::Ping, Payload::of(&[])).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes, and why.
    pub(super) async fn close(&mut self, close: &Close) -> io::Result<()> {
        self.send(Opcode::Close, Payload::of(&close.payload())).await
    }

    /// Closes the connection itself; TLS has a close of its own.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.remote.shutdown().await
    }

    async fn send(&mut self, opcode: Opcode, payload: Payload) -> io::Result<()> {
        let Payload { mut buffer, count } = payload;
        let frame = seal(&mut buffer, PAYLOAD..PAYLOAD + count, opcode, self.keys.next());
        self.remote.write_all(&buffer[frame]).await?;
        drop(buffer);
        // TLS keeps what the socket did not take at once.
        self.slow = false;
        poll_fn(|cx| {
            let flushed = Pin::new(&mut self.remote).poll_flush(cx);
            self.slow |= flushed.is_pending();
            flushed
        })
        .await
    }
}

/// Masking keys, drawn from the system a page at a time.
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
            // Without the system's randomness TLS could not have been set up either.
            getrandom::fill(self.pool.as_flattened_mut()).expect("the system has randomness");
            self.used = 0;
        }
        self.used += 1;
        self.pool[self.used - 1]
    }
}
