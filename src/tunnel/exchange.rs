//! An exchange of bytes on a WebSocket before its bridge.

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::end::End;
use super::frame::{Close, Decoder, Piece};
use super::outgoing::{Frames, Payload};
use super::pump_state::HANGUP;
use super::remote::Remote;

/// A WebSocket that a bridge takes over later. Dropping it drops the connection.
pub(crate) struct Exchange<S> {
    remote: S,
    /// Bytes that have arrived and are not decoded yet.
    arrived: Vec<u8>,
    decoder: Decoder,
}

impl<S: Remote> Exchange<S> {
    /// Begins on an established WebSocket. `early` are the bytes that arrived behind the upgrade's response.
    pub(crate) fn new(remote: S, early: &[u8]) -> Self {
        Self { remote, arrived: early.to_owned(), decoder: Decoder::default() }
    }

    /// Sends a message, which must not be empty. Not cancel-safe.
    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        Frames::new(&mut self.remote).data(Payload::of(message)).await
    }

    /// Fills `bytes`, however messages and frames split what arrives, and answers pings. Not cancel-safe.
    ///
    /// # Errors
    /// Returns how the peer ended the stream before that.
    pub(crate) async fn read_exact(&mut self, mut bytes: &mut [u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            let most = if self.decoder.is_within_frame() { bytes.len() } else { usize::MAX };
            let input = &self.arrived[..self.arrived.len().min(most)];
            let (used, piece) = self.decoder.next(input).map_err(|violation| End::Violation(violation.0))?;
            match piece {
                Some(Piece::Data(range)) => {
                    let (filled, rest) = bytes.split_at_mut(range.len());
                    filled.copy_from_slice(&input[range]);
                    bytes = rest;
                }
                Some(Piece::Ping(range)) => {
                    let sent = Frames::new(&mut self.remote).control(false, Some(&input[range])).await;
                    sent.map_err(End::Cut)?;
                }
                Some(Piece::Close(code, reason)) => {
                    let close = Close { code, reason: String::from_utf8_lossy(&input[reason]).into_owned() };
                    return Err(if close.is_normal() { End::Peer(close) } else { End::PeerFailed(close) });
                }
                Some(Piece::Empty | Piece::Pong) => {}
                None if used == 0 => self.receive().await.map_err(End::Cut)?,
                None => {}
            }
            self.arrived.drain(..used);
        }
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<()> {
        if self.remote.read_buf(&mut self.arrived).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed without a Close"));
        }
        Ok(())
    }

    /// Sends a Close and ends the connection.
    pub(crate) async fn close(mut self, close: &Close) {
        let ending = async {
            let mut frames = Frames::new(&mut self.remote);
            frames.close(close).await?;
            frames.shutdown().await?;
            // Closing a socket with unread data resets the connection.
            tokio::io::copy(&mut self.remote, &mut tokio::io::sink()).await
        };
        let _ = timeout(HANGUP, ending).await;
    }

    /// The connection, and the bytes that have arrived behind those read, for a bridge.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        let header = self.decoder.rest_of_message();
        let header = header.as_ref().map_or(&[][..], |header| &header[..]);
        (self.remote, [header, &self.arrived].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use crate::tunnel::incoming::{Batch, Down, Incoming};
    use crate::tunnel::pump_state::PumpState;

    /// An exchange with `early` bytes, and the peer's end of its connection.
    fn exchange(early: &[u8]) -> (Exchange<DuplexStream>, DuplexStream) {
        let (ours, peer) = duplex(65_536);
        (Exchange::new(ours, early), peer)
    }

    /// What a bridge reads after the exchange.
    async fn left(exchange: Exchange<DuplexStream>) -> Vec<u8> {
        let (remote, early) = exchange.into_parts();
        let mut incoming = Incoming::new(io::Cursor::new(early).chain(remote), false);
        let (state, mut all) = (PumpState::new(), Vec::new());
        loop {
            let (buffer, Batch { data, last }) = incoming.next(&state).await.unwrap();
            all.extend_from_slice(&buffer[data]);
            match last {
                Some(Down::Closed(_)) => return all,
                Some(_) => panic!("not a normal end"),
                None => {}
            }
        }
    }

    #[tokio::test]
    async fn reads_however_frames_split_the_bytes_and_loses_none_behind_them() {
        for wire in [
            // In one frame, in messages with a ping between them, in fragments, and with empty messages.
            &b"\x82\x08abcdefgh\x88\x00"[..],
            b"\x82\x02ab\x89\x01p\x81\x06cdefgh\x88\x00",
            b"\x02\x01a\x00\x01b\x89\x01p\x00\x01c\x80\x05defgh\x88\x00",
            b"\x02\x02ab\x00\x01c\x80\x05defgh\x88\x00",
            b"\x02\x05abcde\x80\x03fgh\x88\x00",
            b"\x82\x00\x82\x03abc\x82\x00\x82\x05defgh\x88\x00",
            b"\x82\x7e\x00\x08abcdefgh\x88\x00",
        ] {
            for early in 0..wire.len() {
                let (mut exchange, mut peer) = exchange(&wire[..early]);
                peer.write_all(&wire[early..]).await.unwrap();
                let mut read = *b"   ";
                exchange.read_exact(&mut read[..1]).await.unwrap();
                exchange.read_exact(&mut read[1..]).await.unwrap();
                assert_eq!(&read, b"abc", "{wire:?} {early}");
                assert_eq!(left(exchange).await, b"defgh", "{wire:?} {early}");
            }
        }
    }

    #[tokio::test]
    async fn answers_pings_and_sends_messages() {
        let (mut exchange, mut peer) = exchange(b"\x89\x01p\x82\x01a");
        exchange.read_exact(&mut [0]).await.unwrap();
        exchange.send(b"hi").await.unwrap();
        let mut frames = [0; 7 + 8];
        peer.read_exact(&mut frames).await.unwrap();
        assert_eq!((&frames[..2], &frames[7..9]), (&[0x8a, 0x81][..], &[0x82, 0x82][..]));
        assert_eq!((frames[6] ^ frames[2], frames[13] ^ frames[9]), (b'p', b'h'));
    }

    #[tokio::test]
    async fn tells_how_the_peer_ended() {
        let ended = async |wire: &[u8]| {
            let (mut exchange, _) = exchange(wire);
            exchange.read_exact(&mut [0; 3]).await.unwrap_err()
        };
        assert!(matches!(ended(b"\x82\x01a\x88\x02\x03\xe8").await, End::Peer(_)));
        assert!(matches!(ended(b"\x88\x02\x03\xf3").await, End::PeerFailed(_)));
        assert!(matches!(ended(b"\x82\x01a").await, End::Cut(_)));
        assert!(matches!(ended(b"HTTP/1.1").await, End::Violation(_)));
    }

    #[tokio::test]
    async fn closes_with_a_close() {
        let (exchange, mut peer) = exchange(b"");
        let mut wire = Vec::new();
        tokio::join!(async { exchange.close(&Close::new(Close::NORMAL, "")).await }, async {
            peer.read_to_end(&mut wire).await.unwrap();
            drop(peer);
        });
        assert_eq!((wire.len(), &wire[..2]), (8, &[0x88, 0x82][..]));
    }
}
