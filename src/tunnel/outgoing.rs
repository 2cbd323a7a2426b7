//! The writing half of a WebSocket: payloads are read behind room for their header, and framed where they lie.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{HEADER_ROOM, Opcode, seal};
use crate::buffer::Buffer;

/// Where payloads begin: behind room for a header, and where copies are fast.
const PAYLOAD: usize = 64;
const _: () = assert!(PAYLOAD >= HEADER_ROOM);

/// One frame with its room: the payload stays below [`super::MAX_PAYLOAD`], and the frame fills whole TLS records.
const FRAME: usize = 65_536;

/// However impatient the bridge: what one frame may take.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(350);

/// The writing half of a WebSocket.
pub(super) struct Frames<S> {
    remote: S,
    buffer: Buffer,
    keys: Keys,
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    pub(super) fn new(remote: S) -> Self {
        Self { remote, buffer: Buffer::new(FRAME), keys: Keys::new() }
    }

    /// Where the next payload is read into.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[PAYLOAD..]
    }

    /// Sends the first `count` bytes of the room, within `patience` if there is a limit to it.
    pub(super) async fn data(&mut self, count: usize, patience: Option<Duration>) -> io::Result<()> {
        let sending = self.send(Opcode::Binary, count);
        match patience {
            None => sending.await,
            Some(patience) => timeout(patience.max(SHORTEST_PATIENCE), sending).await?,
        }
    }

    /// Answers a ping, and pings.
    pub(super) async fn control(&mut self, ping: bool, pong: Option<&[u8]>) -> io::Result<()> {
        if let Some(payload) = pong {
            self.buffer[PAYLOAD..][..payload.len()].copy_from_slice(payload);
            self.send(Opcode::Pong, payload.len()).await?;
        }
        if ping {
            self.send(Opcode::Ping, 0).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.buffer[PAYLOAD..][..2].copy_from_slice(&1000u16.to_be_bytes());
        self.send(Opcode::Close, 2).await
    }

    /// Closes the connection itself; TLS has a close of its own.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.remote.shutdown().await
    }

    async fn send(&mut self, opcode: Opcode, count: usize) -> io::Result<()> {
        let frame = seal(&mut self.buffer, PAYLOAD..PAYLOAD + count, opcode, self.keys.next());
        self.remote.write_all(&self.buffer[frame]).await?;
        // TLS keeps what the socket did not take at once.
        self.remote.flush().await
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
