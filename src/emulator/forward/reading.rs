//! Reads the frames of one side into the pipe to its peer.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::activity::Activity;
use super::notices::Notices;
use super::pipe::{Content, Sender};
use super::rules::{Answer, Closes, Pings, Rules};
use crate::emulator::websocket::frames::{Broken, Frame, FrameReader};

/// How often a side is pinged while it is not read from. Without a Ping its death would not show: the end of its
/// connection waits behind its data.
pub(super) const PROBE: Duration = Duration::from_millis(500);
/// Frames that are read before other tasks have their turn.
const TURN: u32 = 64;
/// The same in bytes: the peer's side sends them on while they are in the processor's cache.
const TURN_BYTES: usize = 32 << 10;
/// What a small frame counts in those.
const SMALL: usize = TURN_BYTES / TURN as usize;
/// Frames without data that are read before a pause, so that a flood of them does not keep a core busy.
const CONTROL_FRAMES: u32 = 1024;
const PAUSE: Duration = Duration::from_millis(20);
/// Empty messages that are passed on within a second; more tell the receiver nothing new.
const EMPTY_MESSAGES: u32 = 1024;

/// Why a side is not read from any more.
pub(super) enum ReadEnd {
    /// The connection has ended.
    Gone,
    /// The side broke the protocol.
    Violation,
}

/// Reads a side's frames into the pipe to its peer, until its connection ends. Without a peer they are discarded.
pub(super) async fn read_frames<S: AsyncRead + AsyncWrite>(
    frames: &mut FrameReader<ReadHalf<S>>,
    to_peer: &Sender,
    notices: &Notices,
    rules: &Rules,
    activity: &Activity,
    name: &str,
) -> ReadEnd {
    let mut turn = 0;
    let mut control = 0_u32;
    let mut second = Instant::now();
    let mut empty_messages = 0;
    loop {
        let frame = match frames.next().await {
            Ok(frame) => frame,
            Err(broken) => {
                log::info!("{name} is gone: {broken}");
                let Broken::Protocol(code, _) = broken else { return ReadEnd::Gone };
                // Which code the service gives a frame that is too large is not known; 1009 is our choice.
                notices.tell(|notice| notice.close = Some(Some((code, String::new()))));
                return ReadEnd::Violation;
            }
        };
        activity.note();
        match frame {
            Frame::Data(data) if !data.bytes.is_empty() => {
                turn += data.bytes.len().max(SMALL);
                send_to_peer(Content::Data(data), to_peer, notices).await;
                if turn >= TURN_BYTES {
                    turn = 0;
                    yield_now().await;
                }
                continue;
            }
            // Without them, the fragments that follow belong to no message.
            Frame::Data(data) | Frame::EmptyMessage(data) if rules.keeps_messages => {
                send_to_peer(Content::Data(data), to_peer, notices).await;
            }
            // Some clients send these endlessly at the end of a file [S].
            Frame::EmptyMessage(data) => {
                if second.elapsed() >= Duration::from_secs(1) {
                    second = Instant::now();
                    empty_messages = 0;
                }
                empty_messages += 1;
                if empty_messages <= EMPTY_MESSAGES {
                    send_to_peer(Content::Data(data), to_peer, notices).await;
                }
            }
            Frame::Ping(payload) => match rules.pings {
                Pings::Answered => notices.tell(|notice| notice.ping = Some(payload)),
                Pings::PassedOn => send_to_peer(Content::Ping(payload), to_peer, notices).await,
                Pings::Ignored => {}
            },
            Frame::Pong(payload) if rules.pings == Pings::PassedOn => {
                send_to_peer(Content::Pong(payload), to_peer, notices).await;
            }
            Frame::Data(_) | Frame::Pong(_) => {}
            Frame::Close(said) => {
                let normal = || (CloseCode::Normal, String::new());
                // A Close without a code means the same as 1000.
                let said = if rules.keeps_messages { said } else { said.or_else(|| Some(normal())) };
                match &said {
                    Some((code, reason)) => log::info!("{name} closes with {code} {reason:?}"),
                    None => log::info!("{name} closes without a code"),
                }
                let answer = match rules.closes {
                    Closes::PassedOn => None,
                    Closes::Answered(Answer::Same) => Some(said.clone()),
                    Closes::Answered(Answer::Normal) => Some(Some(normal())),
                };
                send_to_peer(Content::Close(said), to_peer, notices).await;
                // Only now: the notice ends the stream, and with it what has not been passed on.
                notices.tell(|notice| {
                    notice.closed = true;
                    notice.close = notice.close.take().or(answer);
                });
                discard(frames.get_mut()).await;
                log::info!("{name} is gone: its connection ended after its Close");
                return ReadEnd::Gone;
            }
        }
        control += 1;
        if control.is_multiple_of(CONTROL_FRAMES) {
            sleep(PAUSE).await;
        } else if control.is_multiple_of(TURN) {
            yield_now().await;
        }
    }
}

/// Sends to the peer; while the pipe has no room, this side is pinged.
async fn send_to_peer(content: Content, to_peer: &Sender, notices: &Notices) {
    let sending = to_peer.send(content);
    tokio::pin!(sending);
    loop {
        tokio::select! {
            biased;
            _ = &mut sending => return,
            () = sleep(PROBE) => notices.tell(|notice| notice.probe = true),
        }
    }
}

/// Reads and discards until the connection ends.
pub(super) async fn discard(io: &mut (impl AsyncRead + Unpin)) {
    let mut block = [0; 4096];
    while io.read(&mut block).await.is_ok_and(|count| count > 0) {}
}
