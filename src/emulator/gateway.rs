//! The relay of the streaming gateway: one side of a stream, from its upgrade to its end.
//!
//! How the service ends a stream is known only in part: the other side is ended too [D], and one that was left was
//! seen to get 1011 `WS disconnected` [I]. Beyond that we choose the gentlest: what a side sent before its end is
//! delivered first; a side's Close is passed on as 1000, and what the other still sends until it answers is delivered
//! too, as the closing handshake allows; an end without a Close is told as 1011.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::frames::{Broken, Frame, FrameReader, write_close, write_data, write_pong};
use super::pipe::{Content, Receiver, Sender};
use super::sessions::{Cut, Ends};

/// The largest frame the service takes: more was seen to cut the connection [S][I].
pub(super) const MAX_FRAME: usize = 65_536;

/// How long a side has for its Close once it was sent one.
const CLOSE_LINGER: Duration = Duration::from_secs(5);
/// How long a side that closed waits for the rest from one that stalls.
const DRAIN_LINGER: Duration = Duration::from_secs(60);
/// How long what a side sends after all is over is read, so that no reset overtakes what it was sent.
const TCP_LINGER: Duration = Duration::from_secs(1);
/// Frames are gathered up to here before they are written.
const BATCH: usize = 128 << 10;

/// What a side's reader tells the same side's writer.
#[derive(Clone, Debug, Default)]
struct Notice {
    /// The latest Ping: only that needs an answer (RFC 6455, 5.5.3), so a sender of many takes no memory.
    ping: Option<Bytes>,
    /// The side closed its WebSocket.
    closed: bool,
    /// The side broke a rule, and is to be told with this code.
    broken: Option<CloseCode>,
}

/// Relays for one side until the stream ends. Bytes that come before the other side joined are kept, up to what the
/// pipe holds; then this side is not read from.
pub(super) async fn relay<S: AsyncRead + AsyncWrite>(io: S, ends: Ends, max_frame: usize) {
    let Ends { to_peer, from_peer, cut } = ends;
    let (reader, mut writer) = tokio::io::split(io);
    let mut frames = FrameReader::new(reader, max_frame);
    let notices = watch::Sender::new(Notice::default());
    let ended = {
        let reading = receive(&mut frames, to_peer, &notices);
        let writing = deliver(&mut writer, from_peer, notices.subscribe(), &cut);
        tokio::pin!(reading, writing);
        tokio::select! {
            received = &mut reading => match received {
                Received::Closed => timeout(DRAIN_LINGER, writing).await.unwrap_or(Ended::Abruptly),
                Received::Broken => timeout(CLOSE_LINGER, writing).await.unwrap_or(Ended::Abruptly),
                Received::Gone => Ended::Abruptly,
            },
            delivered = &mut writing => {
                if matches!(delivered, Ended::WithClose) {
                    let _ = timeout(CLOSE_LINGER, reading).await;
                }
                delivered
            }
            () = cut.fired() => Ended::Abruptly,
        }
    };
    if matches!(ended, Ended::WithClose) {
        let _ = timeout(CLOSE_LINGER, writer.shutdown()).await;
        let _ = timeout(TCP_LINGER, discard(frames.get_mut())).await;
    }
}

enum Received {
    Closed,
    Broken,
    Gone,
}

enum Ended {
    WithClose,
    Abruptly,
}

/// Reads a side's frames into the pipe to its peer, until its Close. Without a peer they are thrown away.
async fn receive<S: AsyncRead + AsyncWrite>(
    frames: &mut FrameReader<ReadHalf<S>>,
    to_peer: Sender,
    notices: &watch::Sender<Notice>,
) -> Received {
    loop {
        match frames.next().await {
            // A message's borders carry no meaning [S]: text and fragments are bytes like any other. How the service
            // treats them is not known. Empty frames are what some clients send at the end of file [S].
            Ok(Frame::Data(data)) => {
                if !data.is_empty() {
                    to_peer.send(Content::Data(data)).await;
                }
            }
            Ok(Frame::Ping(payload)) => notices.send_modify(|notice| notice.ping = Some(payload)),
            Ok(Frame::Pong) => {}
            Ok(Frame::Close) => {
                notices.send_modify(|notice| notice.closed = true);
                to_peer.send(Content::Close).await;
                return Received::Closed;
            }
            Err(Broken::Gone) => return Received::Gone,
            Err(Broken::Protocol(code)) => {
                // Which code the service gives a frame that is too large is not known; 1009 is our choice.
                notices.send_modify(|notice| notice.broken = Some(code));
                return Received::Broken;
            }
        }
    }
}

/// Writes what the peer sent, and pongs, until the peer's end or this side's fault.
async fn deliver<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    mut from_peer: Receiver,
    mut notices: watch::Receiver<Notice>,
    cut: &Cut,
) -> Ended {
    let mut out = Vec::with_capacity(BATCH + MAX_FRAME);
    let mut ended = None;
    while ended.is_none() {
        tokio::select! {
            biased;
            // The sender is dropped after this future.
            Ok(()) = notices.changed() => {
                let Notice { ping, broken, .. } = notices.borrow_and_update().clone();
                if let Some(code) = broken {
                    ended = Some((code, ""));
                } else if let Some(ping) = ping {
                    write_pong(&ping, &mut out);
                }
            }
            content = from_peer.next() => {
                let mut content = content;
                loop {
                    match content {
                        Some(Content::Data(data)) => {
                            let allowed = cut.take(data.len());
                            if allowed > 0 {
                                write_data(&data[..allowed], &mut out);
                            }
                        }
                        Some(Content::Close) => ended = Some((CloseCode::Normal, "")),
                        // A peer that goes after this side's Close has ended the stream in its way.
                        None if notices.borrow().closed => ended = Some((CloseCode::Normal, "")),
                        None => ended = Some((CloseCode::Error, "WS disconnected")),
                    }
                    if ended.is_some() || cut.is_due() || out.len() >= BATCH {
                        break;
                    }
                    content = match from_peer.ready() {
                        Some(more) => Some(more),
                        None => break,
                    };
                }
            }
        }
        if let Some((code, reason)) = ended {
            write_close(code, reason, &mut out);
        }
        if write_out(writer, &mut out).await.is_err() {
            return Ended::Abruptly;
        }
        if cut.is_due() {
            cut.fire();
            return Ended::Abruptly;
        }
    }
    Ended::WithClose
}

async fn write_out<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    writer.write_all(out).await?;
    out.clear();
    writer.flush().await
}

async fn discard(io: &mut (impl AsyncRead + Unpin)) {
    let mut block = [0; 4096];
    while io.read(&mut block).await.is_ok_and(|count| count > 0) {}
}
