//! The reading half of a WebSocket: payloads are taken apart where they lie, at whatever borders the bytes arrive.

use std::io;
use std::ops::{ControlFlow, Range};

use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

use super::empty_run::EmptyRun;
use super::frame::{Close, Decoder, Piece};
use super::link::Link;
use crate::tunnel::buffer::Buffer;

/// Bytes taken from the stream at a time: four full TLS records, behind what is left of the longest header and control
/// frame.
pub(super) const INCOMING: usize = 65_536 + 256;

/// How what comes ends.
pub(super) enum Down {
    Closed(Close),
    /// A run of empty messages.
    Emptied,
    /// After our own close the peer neither sent nor closed.
    Lingered,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
    Violation(&'static str),
}

/// The reading half of a WebSocket.
pub(super) struct Incoming<S> {
    remote: S,
    decoder: Decoder,
    /// An unfinished header or control frame.
    pub(super) rest: Vec<u8>,
    empty_run: EmptyRun,
    /// A run of empty messages was the end.
    emptied: bool,
    /// A Close has come: what follows it means nothing (RFC 6455, section 1.4).
    closed: bool,
}

/// What is in the bytes of one read.
pub(super) struct Taken {
    /// Where the payloads are, moved together so that one write takes them all.
    pub(super) data: Range<usize>,
    /// Why nothing more is to be read.
    pub(super) last: Option<Down>,
}

impl<S: AsyncRead + Unpin> Incoming<S> {
    pub(super) fn new(remote: S) -> Self {
        Self {
            remote,
            decoder: Decoder::default(),
            rest: Vec::new(),
            empty_run: EmptyRun::default(),
            emptied: false,
            closed: false,
        }
    }

    /// Reads from the peer. Cancel-safe.
    ///
    /// # Errors
    /// That of the connection, also where it has ended.
    pub(super) async fn next(&mut self, link: &Link) -> io::Result<(Buffer, Taken)> {
        let held = self.rest.len();
        let (mut buffer, count) = Buffer::read(&mut self.remote, held..INCOMING).await?;
        if count == 0 {
            let where_to =
                if held > 0 || self.decoder.is_within_message() { " within a message" } else { "" };
            let problem = format!("it was closed{where_to} without a Close");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        link.heard();
        if self.closed {
            return Ok((buffer, Taken { data: 0..0, last: None }));
        }
        buffer[..held].copy_from_slice(&self.rest);
        let taken = self.take_apart(&mut buffer[..held + count], link);
        Ok((buffer, taken))
    }

    /// As [`Self::next`]; once the upward pump has ended, only for as long as the peer may be silent.
    pub(super) async fn next_or_linger(
        &mut self,
        link: &Link,
    ) -> ControlFlow<(), io::Result<(Buffer, Taken)>> {
        let ended = link.lock().upward_ended;
        if !ended {
            tokio::select! {
                biased;
                next = self.next(link) => return ControlFlow::Continue(next),
                () = link.upward_end.notified() => {}
            }
        }
        let linger = link.lock().linger;
        match linger {
            None => ControlFlow::Continue(self.next(link).await),
            Some(patience) => match timeout(patience, self.next(link)).await {
                Ok(next) => ControlFlow::Continue(next),
                Err(_elapsed) => ControlFlow::Break(()),
            },
        }
    }

    pub(super) fn take_apart(&mut self, bytes: &mut [u8], link: &Link) -> Taken {
        let (mut data, mut unfinished) = (0..0, 0);
        let was_emptied = self.emptied;
        let last = loop {
            let (used, piece) = match self.decoder.next(&bytes[unfinished..]) {
                Ok((0, None)) => break (self.emptied && !was_emptied).then_some(Down::Emptied),
                Ok(step) => step,
                Err(violation) => break Some(Down::Violation(violation.0)),
            };
            let within = |range: Range<usize>| unfinished + range.start..unfinished + range.end;
            match piece {
                Some(Piece::Data(_)) if self.emptied => break Some(Down::Violation("data after its end")),
                Some(Piece::Data(range)) => {
                    let range = within(range);
                    self.empty_run.broken();
                    if data.is_empty() {
                        data = range;
                    } else {
                        let count = range.len();
                        bytes.copy_within(range, data.end);
                        data.end += count;
                    }
                }
                Some(Piece::Ping(range)) => {
                    let payload = bytes[within(range)].to_vec();
                    link.order(|orders| orders.pong = Some(payload));
                }
                Some(Piece::Close(code, reason)) => {
                    self.closed = true;
                    let reason = String::from_utf8_lossy(&bytes[within(reason)]).into_owned();
                    let close = Close { code, reason };
                    let is_whole = !close.is_normal() || !self.decoder.is_within_message();
                    let within =
                        || io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed within a message");
                    break Some(if is_whole { Down::Closed(close) } else { Down::RemoteFailed(within()) });
                }
                Some(Piece::Empty) => self.emptied = self.emptied || self.empty_run.is_end(Instant::now()),
                Some(Piece::Pong) | None => {}
            }
            unfinished += used;
        };
        self.rest.clear();
        if !self.closed {
            self.rest.extend_from_slice(&bytes[unfinished..]);
        }
        Taken { data, last }
    }
}
