//! The bridge: two pumps, joined. An end in one direction never discards bytes of the other.
//!
//! A WebSocket has no half-close, so the bridge makes one of what there is: Close says "nothing more from me", and
//! whoever gets it may still send what it has before it answers with its own.

use std::future::Future;
use std::io::{self, Cursor};
use std::ops::{ControlFlow, Range};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::frame::{Decoder, Piece};
use super::link::{HANGUP, Link, silence};
use super::meter::Meter;
use super::outgoing::Frames;
use crate::buffer::Buffer;

/// Bytes taken from the stream at a time: four full TLS records, behind what is left of the longest header and control
/// frame.
const INCOMING: usize = 65_536 + 256;

/// How patient a bridge is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence after which the peer is pinged; it is dead after less than two of these. Zero: never.
    pub keepalive: Duration,
    /// After the local side's end: how long the peer may be silent before it closes too.
    pub linger: Duration,
    /// After the peer's close: how long the local side may be silent before it ends too.
    pub drain: Duration,
    /// Whether the local side learns of the peer's close at once, while it may still send; else it does when the
    /// caller drops it.
    pub half_close: bool,
}

/// A WebSocket Close frame: 1000 and none at all are normal, 1011 is what a device saw when the service's end had
/// vanished [I].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: Option<u16>,
    pub reason: String,
}

impl Close {
    /// Whether this is a stream's ordinary end.
    pub fn is_normal(&self) -> bool {
        matches!(self.code, None | Some(1000 | 1001 | 1005))
    }
}

/// Why a stream ended: its first cause.
#[derive(Debug)]
pub enum End {
    /// The local side had nothing more to send; what the peer still sent was delivered.
    Local,
    /// The peer closed; everything it sent before was delivered.
    Peer(Close),
    /// The local side could not be read or written.
    LocalFailed(io::Error),
    /// The connection ended without a close.
    Cut(io::Error),
    /// The peer sent what no gateway may send.
    Violation(&'static str),
    /// Nothing was heard for this long, not even an answer to a ping.
    Silent(Duration),
    /// The caller asked for an end.
    HungUp,
}

/// How one pump ended.
enum Up {
    Eof,
    /// After the peer's close or a hang-up: the local side had nothing more to say.
    Drained,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
}

enum Down {
    /// The peer closed, or ended its side of the connection in good order.
    Closed(Close),
    /// After our own close the peer neither sent nor closed.
    Lingered,
    LocalFailed(io::Error),
    RemoteFailed(io::Error),
    Violation(&'static str),
}

/// Moves bytes between a local side and an established WebSocket, of which `early` are the bytes that came with the
/// upgrade's answer, until both directions have ended. `hangup` asks for an orderly end within a second.
///
/// Not cancel-safe: dropping the future drops bytes on their way. To end early, resolve `hangup`.
pub async fn bridge<R, W, S>(
    local: (R, W),
    remote: S,
    early: &[u8],
    settings: &Settings,
    meter: &Meter,
    hangup: impl Future<Output = ()>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let (read, write) = tokio::io::split(remote);
    let mut frames = Frames::new(write);
    let remote = Cursor::new(early).chain(read);
    let end = run(local, remote, &mut frames, settings, meter, hangup).await;
    if !matches!(end, End::Cut(_) | End::Silent(_)) {
        // TLS has a close of its own; a peer that is gone does not miss it.
        let _ = timeout(HANGUP / 2, frames.shutdown()).await;
    }
    end
}

async fn run<R, W, S, T>(
    local: (R, W),
    remote: S,
    frames: &mut Frames<T>,
    settings: &Settings,
    meter: &Meter,
    hangup: impl Future<Output = ()>,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
{
    let link = Link::default();
    let mut up = pin!(up(local.0, frames, &link, meter));
    let mut down = pin!(down(remote, local.1, &link, settings.half_close, meter));
    let mut silence = pin!(silence(&link, settings.keepalive));
    let mut hangup = pin!(hangup);
    let (mut upward, mut downward) = (None, None);
    let mut limit = None;
    while upward.is_none() || downward.is_none() {
        tokio::select! {
            biased;
            end = &mut down, if downward.is_none() => {
                match end {
                    Down::Closed(_) => link.order(|orders| orders.drain = Some(settings.drain)),
                    // The peer is told in good manners, if it listens at all.
                    Down::LocalFailed(_) => {
                        link.order(|orders| orders.drain = Some(Duration::ZERO));
                        limit = Some(Instant::now() + HANGUP);
                    }
                    // Nothing more can be sent either.
                    Down::RemoteFailed(_) | Down::Violation(_) => limit = Some(Instant::now()),
                    Down::Lingered => {}
                }
                downward = Some(end);
            }
            end = &mut up, if upward.is_none() => {
                link.linger(settings.linger);
                upward = Some(end);
            }
            silent = &mut silence => return End::Silent(silent),
            () = &mut hangup, if !link.is_hung_up() => {
                link.hang_up();
                limit = Some(Instant::now() + 2 * HANGUP);
            }
            () = sleep_until(limit.unwrap_or_else(Instant::now)), if limit.is_some() => break,
        }
    }
    first_cause(upward, downward, link.is_hung_up())
}

/// Why the stream ended, from how its pumps did; `None` is one that was still running when the other's end decided.
fn first_cause(up: Option<Up>, down: Option<Down>, hung_up: bool) -> End {
    match (up, down) {
        (_, Some(Down::LocalFailed(error))) | (Some(Up::LocalFailed(error)), _) => End::LocalFailed(error),
        _ if hung_up => End::HungUp,
        (Some(Up::Eof), _) => End::Local,
        (_, Some(Down::Closed(close))) => End::Peer(close),
        (_, Some(Down::Violation(what))) => End::Violation(what),
        (_, Some(Down::RemoteFailed(error))) | (Some(Up::RemoteFailed(error)), _) => End::Cut(error),
        (Some(Up::Drained) | None, _) => End::Local,
    }
}

/// Local side → frames.
async fn up<R, S>(mut local: R, frames: &mut Frames<S>, link: &Link, meter: &Meter) -> Up
where
    R: AsyncRead + Unpin,
    S: AsyncWrite + Unpin,
{
    let mut drain = None;
    loop {
        let deadline = drain.map(|patience| Instant::now() + patience);
        let step = tokio::select! {
            biased;
            () = link.attention.notified() => {
                let (ping, pong) = {
                    let mut orders = link.lock();
                    drain = orders.drain;
                    (std::mem::take(&mut orders.ping), orders.pong.take())
                };
                frames.control(ping, pong.as_deref()).await
            }
            payload = frames.payload(&mut local) => match payload {
                Ok(None) => return close(frames, if drain.is_some() { Up::Drained } else { Up::Eof }).await,
                Ok(Some(payload)) => {
                    let count = payload.len();
                    let sent = frames.data(payload, drain).await;
                    if sent.is_ok() {
                        meter.add_sent(count);
                    }
                    sent
                }
                Err(error) => return close(frames, Up::LocalFailed(error)).await,
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                return close(frames, Up::Drained).await;
            }
        };
        if let Err(error) = step {
            return Up::RemoteFailed(error);
        }
    }
}

/// Says that nothing more comes; an upward pump ends with this.
async fn close<S: AsyncWrite + Unpin>(frames: &mut Frames<S>, why: Up) -> Up {
    match frames.close().await {
        Ok(()) => why,
        Err(error) => Up::RemoteFailed(error),
    }
}

/// Frames → local side.
async fn down<S, W>(mut remote: S, mut local: W, link: &Link, half_close: bool, meter: &Meter) -> Down
where
    S: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut decoder = Decoder::default();
    // An unfinished header or control frame.
    let mut rest = Vec::new();
    loop {
        link.heard(Some(Instant::now()));
        let (mut buffer, end) = match read_or_linger(&mut remote, &rest, link).await {
            ControlFlow::Continue(Ok((_, 0))) => {
                let close = Close { code: None, reason: String::new() };
                return closed(half_close.then_some(&mut local), close, link).await;
            }
            ControlFlow::Continue(Ok((buffer, count))) => (buffer, rest.len() + count),
            ControlFlow::Continue(Err(error)) => return Down::RemoteFailed(error),
            ControlFlow::Break(()) => return Down::Lingered,
        };
        buffer[..rest.len()].copy_from_slice(&rest);
        link.heard(Some(Instant::now()));
        let Taken { data, unfinished, last } = take_apart(&mut decoder, &mut buffer[..end], link);
        if !data.is_empty() {
            link.heard(None);
            let count = data.len();
            if let Err(error) = local.write_all(&buffer[data]).await {
                return Down::LocalFailed(error);
            }
            meter.add_received(count);
        }
        match last {
            Some(Down::Closed(close)) => return closed(half_close.then_some(&mut local), close, link).await,
            Some(end) => return end,
            None => {}
        }
        if let Err(error) = local.flush().await {
            return Down::LocalFailed(error);
        }
        rest.clear();
        rest.extend_from_slice(&buffer[unfinished..end]);
    }
}

/// What is in the bytes of one read.
struct Taken {
    /// Where the payloads are, moved together so that one write takes them all.
    data: Range<usize>,
    /// Where an unfinished header or control frame begins.
    unfinished: usize,
    /// Why nothing more is to be read.
    last: Option<Down>,
}

fn take_apart(decoder: &mut Decoder, bytes: &mut [u8], link: &Link) -> Taken {
    let (mut data, mut unfinished) = (0..0, 0);
    let last = loop {
        let (used, piece) = match decoder.next(&bytes[unfinished..]) {
            Ok((0, None)) => break None,
            Ok(step) => step,
            Err(violation) => break Some(Down::Violation(violation.0)),
        };
        let within = |range: Range<usize>| unfinished + range.start..unfinished + range.end;
        match piece {
            Some(Piece::Data(range)) => {
                let range = within(range);
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
                let reason = String::from_utf8_lossy(&bytes[within(reason)]).into_owned();
                break Some(Down::Closed(Close { code, reason }));
            }
            Some(Piece::Pong) | None => {}
        }
        unfinished += used;
    };
    Taken { data, unfinished, last }
}

async fn closed(local: Option<&mut (impl AsyncWrite + Unpin)>, close: Close, link: &Link) -> Down {
    link.heard(None);
    let Some(local) = local else { return Down::Closed(close) };
    match local.shutdown().await {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Down::LocalFailed(error),
        _ => Down::Closed(close),
    }
}

/// Reads from the peer, behind room for `rest`; once the upward pump has ended, only for as long as the peer may be
/// silent.
async fn read_or_linger<S: AsyncRead + Unpin>(
    remote: &mut S,
    rest: &[u8],
    link: &Link,
) -> ControlFlow<(), io::Result<(Buffer, usize)>> {
    let room = rest.len()..INCOMING;
    let patience = link.lock().linger;
    let patience = match patience {
        Some(patience) => patience,
        None => tokio::select! {
            biased;
            read = Buffer::read(remote, room.clone()) => return ControlFlow::Continue(read),
            () = link.upward_ended.notified() => link.lock().linger.unwrap_or_default(),
        },
    };
    match timeout(patience, Buffer::read(remote, room)).await {
        Ok(read) => ControlFlow::Continue(read),
        Err(_elapsed) => ControlFlow::Break(()),
    }
}

#[cfg(test)]
mod tests;
