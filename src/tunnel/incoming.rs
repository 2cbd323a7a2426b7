//! The reading half of a WebSocket. Frames are decoded in place, however reads split them.

use std::io;
use std::ops::{ControlFlow, Range};

use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

use super::empty_run::EmptyRun;
use super::frame::{Close, Decoder, Piece};
use super::pump_state::PumpState;
use crate::tunnel::buffer::Buffer;

/// Bytes read at a time: four full TLS records behind an unfinished header or control frame.
pub(super) const INCOMING: usize = 65_536 + 256;

/// How the downward pump ended.
pub(super) enum Down {
    /// The peer sent a Close that ends the stream in order.
    Closed(Close),
    /// The peer sent a Close with the code of a failure.
    Failed(Close),
    /// The peer sent a Close, and data is missing. The text says what.
    Incomplete(String),
    /// Our own Close came back.
    ThrownBack,
    /// A run of empty messages.
    Emptied,
    /// The peer's connection ended between two messages, while our Close was held back.
    Disconnected,
    /// The peer neither sent nor closed in time after our Close.
    Lingered,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
    Violation(&'static str),
}

impl Down {
    /// The peer has ended in order.
    pub(super) fn is_in_order(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Emptied)
    }

    /// The peer has sent all that it will send.
    pub(super) fn is_over(&self) -> bool {
        self.is_in_order() || matches!(self, Self::Failed(_))
    }
}

/// The reading half of a WebSocket.
pub(super) struct Incoming<S> {
    remote: S,
    decoder: Decoder,
    /// An unfinished header or control frame.
    pub(super) rest: Vec<u8>,
    empty_run: EmptyRun,
    /// A run of empty messages ended the stream.
    emptied: bool,
    going_away_is_end: bool,
    /// The connection has ended between two messages.
    disconnected: bool,
    /// A Close has arrived. Later bytes are discarded (RFC 6455, section 1.4).
    closed: bool,
}

/// The decoded bytes of one read.
pub(super) struct Batch {
    /// The payloads, moved together so that one write suffices.
    pub(super) data: Range<usize>,
    /// The end, if these are the last bytes.
    pub(super) last: Option<Down>,
}

impl<S: AsyncRead + Unpin> Incoming<S> {
    /// Decodes what `remote` sends; `going_away_is_end` is the setting of that name.
    pub(super) fn new(remote: S, going_away_is_end: bool) -> Self {
        Self {
            remote,
            decoder: Decoder::default(),
            rest: Vec::new(),
            empty_run: EmptyRun::default(),
            emptied: false,
            going_away_is_end,
            disconnected: false,
            closed: false,
        }
    }

    /// Reads once and decodes.
    ///
    /// Cancel-safe: bytes are read only in the poll that returns them.
    ///
    /// # Errors
    /// Returns the connection's error, and [`io::ErrorKind::UnexpectedEof`] at its end.
    pub(super) async fn next(&mut self, state: &PumpState) -> io::Result<(Buffer, Batch)> {
        let held = self.rest.len();
        let (mut buffer, count) = Buffer::read(&mut self.remote, held..INCOMING).await?;
        if count == 0 {
            self.disconnected = self.rest.is_empty() && !self.decoder.is_within_message();
            let where_to = if self.disconnected { "" } else { " within a message" };
            let problem = format!("it was closed{where_to} without a Close");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        state.heard();
        if self.closed {
            return Ok((buffer, Batch { data: 0..0, last: None }));
        }
        buffer[..held].copy_from_slice(&self.rest);
        let decoded = self.decode(&mut buffer[..held + count], state);
        Ok((buffer, decoded))
    }

    /// Whether the connection has ended, and neither TLS nor a message was cut.
    pub(super) fn is_disconnected(&self) -> bool {
        self.disconnected
    }

    /// Like [`Self::next`], but breaks when the peer lingers too long after the end of the upward pump. Cancel-safe.
    pub(super) async fn next_or_linger(
        &mut self,
        state: &PumpState,
    ) -> ControlFlow<(), io::Result<(Buffer, Batch)>> {
        let ended = state.lock().upward_ended;
        if !ended {
            tokio::select! {
                biased;
                next = self.next(state) => return ControlFlow::Continue(next),
                () = state.upward_end.notified() => {}
            }
        }
        let linger = state.lock().linger;
        match linger {
            None => ControlFlow::Continue(self.next(state).await),
            Some(patience) => match timeout(patience, self.next(state)).await {
                Ok(next) => ControlFlow::Continue(next),
                Err(_elapsed) => ControlFlow::Break(()),
            },
        }
    }

    /// Decodes the frames in `bytes` and keeps an unfinished one for the next read. Passes pings on to the upward pump.
    pub(super) fn decode(&mut self, bytes: &mut [u8], state: &PumpState) -> Batch {
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
                    state.order(|orders| orders.pong = Some(payload));
                }
                Some(Piece::Close(code, reason)) => {
                    self.closed = true;
                    let reason = String::from_utf8_lossy(&bytes[within(reason)]).into_owned();
                    let close = Close { code, reason };
                    break Some(if !close.is_end(self.going_away_is_end) {
                        Down::Failed(close)
                    } else if self.decoder.is_within_message() {
                        let problem = "it was closed within a message";
                        Down::RemoteFailed(io::Error::new(io::ErrorKind::UnexpectedEof, problem))
                    } else {
                        Down::Closed(close)
                    });
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
        Batch { data, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;

    /// Decodes `wire` in pieces of the given sizes. Returns the data, the last ping's payload and the end.
    fn decoded(
        wire: &[u8],
        mut sizes: impl Iterator<Item = usize>,
    ) -> (Vec<u8>, Option<Vec<u8>>, Option<String>) {
        let state = PumpState::new();
        let pong = || state.lock().orders.pong.take();
        let (mut incoming, mut all, mut start) = (Incoming::new(tokio::io::empty(), false), Vec::new(), 0);
        while start < wire.len() {
            let end = (start + sizes.next().unwrap()).min(wire.len());
            let mut bytes = [&incoming.rest[..], &wire[start..end]].concat();
            start = end;
            let Batch { data, last } = incoming.decode(&mut bytes, &state);
            all.extend_from_slice(&bytes[data]);
            let left = incoming.rest.len();
            match last {
                Some(Down::Closed(close) | Down::Failed(close)) => {
                    return (all, pong(), Some(format!("{close:?}")));
                }
                Some(Down::Violation(what)) => return (all, pong(), Some(what.into())),
                Some(Down::RemoteFailed(error)) => return (all, pong(), Some(error.to_string())),
                _ => assert!(left < 135, "more than a header and a control frame is left: {left}"),
            }
        }
        (all, pong(), None)
    }

    proptest::proptest! {
        #[test]
        fn collects_payloads_however_reads_split_them(
            messages in proptest::collection::vec((proptest::collection::vec(proptest::num::u8::ANY, 0..400), 0u8..4), 0..20),
            sizes in proptest::collection::vec(1usize..500, 1..20),
        ) {
            use tokio_tungstenite::tungstenite::protocol::frame::{Frame, coding::{CloseCode, Data, OpCode}};
            let (mut wire, mut expected, mut pinged) = (Vec::new(), Vec::new(), None);
            for (payload, kind) in messages {
                let short = payload[..payload.len().min(125)].to_vec();
                let frame = match kind {
                    0 => Frame::ping(short.clone()),
                    1 => Frame::pong(short),
                    _ => Frame::message(payload.clone(), OpCode::Data(Data::Binary), true),
                };
                match kind {
                    0 => pinged = Some(payload[..payload.len().min(125)].to_vec()),
                    1 => {}
                    _ => expected.extend_from_slice(&payload),
                }
                frame.format(&mut wire).unwrap();
            }
            let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
            Frame::close(Some(close)).format(&mut wire).unwrap();
            wire.extend_from_slice(b"nobody reads this");
            let (data, pong, last) = decoded(&wire, sizes.into_iter().cycle());
            proptest::prop_assert_eq!(data, expected);
            proptest::prop_assert_eq!(pong, pinged);
            proptest::prop_assert_eq!(last.unwrap(), r#"Close { code: Some(1001), reason: "bye" }"#);
        }

        #[test]
        fn read_sizes_do_not_change_the_result(
            wire in proptest::collection::vec(proptest::num::u8::ANY, 0..700),
            sizes in proptest::collection::vec(1usize..60, 1..10),
        ) {
            proptest::prop_assert_eq!(decoded(&wire, std::iter::repeat(1000)), decoded(&wire, sizes.into_iter().cycle()));
        }
    }
}
