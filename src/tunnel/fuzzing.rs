//! What fuzzing runs of this room: the frames and the bridge.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::frame::{Close, Decoder, HEADER_ROOM, Opcode, Piece, seal};
use super::incoming::{Batch, Down, Incoming};
use super::pump_state::PumpState;
use super::remote::{Keepalive, Remote};
use super::settings::Settings;
use super::{Controls, Direction, Meter};
use crate::platform::TcpInfo;

/// What a decoder makes of a server's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The payloads of data frames.
    pub data: Vec<u8>,
    /// The payloads of pings.
    pub pings: Vec<Vec<u8>>,
    /// How many messages were empty.
    pub empty: usize,
    /// The code and the reason of the Close that is last.
    pub close: Option<(Option<u16>, Vec<u8>)>,
    /// How the bytes break the protocol.
    pub violation: Option<&'static str>,
    /// Whether they end within a message.
    pub is_within_message: bool,
}

/// Decodes `wire` in pieces of these lengths.
pub fn decode(wire: &[u8], lengths: impl Iterator<Item = usize>) -> Decoded {
    let (mut decoder, mut decoded) = (Decoder::default(), Decoded::default());
    let (mut start, mut end) = (0, 0);
    for length in lengths {
        if end == wire.len() {
            break;
        }
        end = end.saturating_add(length).min(wire.len());
        loop {
            let input = &wire[start..end];
            let (used, piece) = match decoder.next(input) {
                Ok(step) => step,
                Err(violation) => {
                    decoded.violation = Some(violation.0);
                    return decoded;
                }
            };
            let is_over = used == 0 && piece.is_none();
            match piece {
                Some(Piece::Data(range)) => decoded.data.extend_from_slice(&input[range]),
                Some(Piece::Ping(range)) => decoded.pings.push(input[range].to_vec()),
                Some(Piece::Empty) => decoded.empty += 1,
                Some(Piece::Close(code, reason)) => {
                    decoded.close = Some((code, input[reason].to_vec()));
                    decoded.is_within_message = decoder.is_within_message();
                    return decoded;
                }
                Some(Piece::Pong) | None => {}
            }
            start += used;
            if is_over {
                assert!(
                    input.len() < 135 || decoder.is_within_frame(),
                    "an unfinished header or control frame is longer"
                );
                break;
            }
        }
    }
    decoded.is_within_message = decoder.is_within_message();
    decoded
}

const EMPTIED: &str = "emptied";

/// Data, the last ping, and the end.
type Received = (Vec<u8>, Option<Vec<u8>>, Option<String>);

/// Decodes `wire` as the reading half of a bridge does, read in pieces of these lengths.
pub fn receive(wire: &[u8], lengths: impl Iterator<Item = usize>) -> Received {
    let state = PumpState::new();
    let (mut incoming, mut data, mut start) = (Incoming::new(tokio::io::empty(), false), Vec::new(), 0);
    let mut end_of_stream = None;
    for length in lengths {
        let is_over = end_of_stream.as_deref().is_some_and(|end| end != EMPTIED);
        if start == wire.len() || is_over {
            break;
        }
        let end = start.saturating_add(length).min(wire.len());
        let mut bytes = [&incoming.rest[..], &wire[start..end]].concat();
        start = end;
        let Batch { data: range, last } = incoming.decode(&mut bytes, &state);
        data.extend_from_slice(&bytes[range]);
        end_of_stream = match last {
            // More may follow in the same piece or in the next one.
            None if end_of_stream.is_some() => end_of_stream,
            Some(Down::Closed(close) | Down::Failed(close)) => Some(format!("{close:?}")),
            Some(Down::Violation(what)) => Some(what.into()),
            Some(Down::RemoteFailed(error)) => Some(error.to_string()),
            Some(Down::Emptied) => Some(EMPTIED.into()),
            Some(_) => unreachable!("the decoder knows no other end"),
            None => {
                assert!(incoming.rest.len() < 135, "more than a header and a control frame is kept");
                None
            }
        };
    }
    let ping = state.lock().orders.pong.take();
    (data, ping, end_of_stream)
}

/// A frame of a client: binary data, a ping, a pong or a Close, by the number of its opcode.
pub fn sealed(payload: &[u8], opcode: u8, key: [u8; 4]) -> Vec<u8> {
    let opcode = match opcode {
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => Opcode::Binary,
    };
    let mut buffer = vec![0; HEADER_ROOM];
    buffer.extend_from_slice(payload);
    let range = HEADER_ROOM..buffer.len();
    let frame = seal(&mut buffer, range, opcode, key);
    buffer[frame].to_vec()
}

/// The payload of a Close.
pub fn close_payload(code: Option<u16>, reason: &str) -> Vec<u8> {
    Close { code, reason: reason.into() }.payload()
}

/// A connection without TCP.
#[derive(Debug)]
pub struct WithoutTcp<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Remote for WithoutTcp<S> {
    fn tcp_info(&self) -> Option<TcpInfo> {
        None
    }

    fn probe(&self, _: Keepalive) {}

    fn reset_on_drop(&self, _: bool) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for WithoutTcp<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithoutTcp<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The settings of a bridge, and what ends it.
#[derive(Clone, Copy, Debug)]
pub struct Bridge {
    pub keepalive: bool,
    pub linger: Option<Duration>,
    pub drain: Option<Duration>,
    pub rest: Option<Duration>,
    pub half_close: bool,
    pub one_connection: bool,
    pub hold_close: bool,
    /// Which direction the local side sends in: up for `true`.
    pub direction: Option<bool>,
    pub going_away_is_end: bool,
    pub hangup: Option<Duration>,
    pub gone: Option<Duration>,
    pub ends_with_peer: bool,
}

/// How a bridge ended.
#[derive(Debug)]
pub struct Bridged {
    /// The end, as `Debug` shows it.
    pub end: String,
    /// Whether it is one without an error.
    pub is_in_order: bool,
    /// The bytes of data that were sent and received.
    pub sent: u64,
    pub received: u64,
}

/// Runs a bridge to its end.
pub async fn bridge<R, W, S>(local: (R, W), remote: S, early: &[u8], options: Bridge) -> Bridged
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Bridge { linger, drain, rest, half_close, one_connection, hold_close, going_away_is_end, .. } =
        options;
    let settings = Settings {
        keepalive: options.keepalive.then_some(Keepalive::DEFAULT),
        linger,
        drain,
        rest,
        half_close,
        one_connection,
        hold_close,
        direction: options.direction.map(|is_up| if is_up { Direction::Up } else { Direction::Down }),
        going_away_is_end,
        failed: |_| Close::hang_up("side has gone"),
        reset: true,
    };
    let meter = Meter::default();
    let controls = Controls {
        hangup: close_after(options.hangup, "told to end"),
        gone: close_after(options.gone, "gone"),
        ends_with_peer: || options.ends_with_peer,
    };
    let end = super::bridge(local, WithoutTcp(remote), early, &settings, &meter, controls).await;
    Bridged {
        sent: meter.sent(),
        received: meter.received(),
        is_in_order: matches!(end, super::End::Local | super::End::Peer(_) | super::End::PeerEmptied),
        end: format!("{end:?}"),
    }
}

async fn close_after(time: Option<Duration>, what: &str) -> Close {
    match time {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
    Close::hang_up(what)
}
