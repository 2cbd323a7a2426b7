//! Writes to one side what its peer sent.

use std::future::pending;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::cut::Cut;
use super::notices::{Notice, Notices};
use super::pipe::{Content, Receiver, Sender};
use super::rules::Rules;
use crate::emulator::websocket::frames::{
    write_close, write_close_without_code, write_data, write_fragment, write_ping, write_pong,
};

/// How long a side that is not patient may take nothing once its peer's connection is gone.
pub(super) const STALL: Duration = Duration::from_secs(2);
/// Frames are gathered up to here before they are written.
const BATCH: usize = 128 << 10;
/// Room for a batch, and for the frame that exceeds it.
const BUFFER: usize = BATCH + (64 << 10);

/// Why a side is not written to any more.
pub(super) enum WriteEnd {
    /// It was sent its peer's Close. The pipe is kept: without it, the peer would take this side for gone.
    PeerClosed(Receiver),
    /// It was sent a Close of the service's, or its connection ends as its peer's did.
    ServiceClosed,
    /// It was sent the service's answer to its own Close.
    Answered(Receiver),
    /// Its connection has failed.
    Failed,
    /// It does not read, and its peer is gone.
    Stalled,
}

/// Writes what the peer sent, and pongs, until the peer ends or this side breaks the protocol.
pub(super) async fn write_frames<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    is_patient: bool,
    mut from_peer: Receiver,
    to_peer: &Sender,
    notices: &Notices,
    cut: &Cut,
    rules: &Rules,
) -> WriteEnd {
    let mut out = Vec::with_capacity(BUFFER);
    loop {
        let mut content = tokio::select! {
            content = from_peer.next() => Some(content),
            () = notices.changed() => from_peer.ready().map(Some),
        };
        let (mut ended, mut closed, mut answered) = (None, false, false);
        let Notice { ping, probe, close, closed: has_closed, .. } = notices.take();
        if let Some(close) = close {
            write_any_close(close.as_ref(), &mut out);
            // Where the side has closed itself, this is the answer.
            answered = has_closed;
            ended = (!answered).then_some(WriteEnd::ServiceClosed);
            content = None;
        } else if let Some(ping) = ping {
            write_pong(&ping, &mut out);
        } else if probe {
            write_ping(&[], &mut out);
        }
        while let Some(next) = content {
            match next {
                Some(Content::Data(data)) => {
                    let allowed = cut.take(data.bytes.len());
                    let bytes = &data.bytes[..allowed];
                    if rules.keeps_messages {
                        write_fragment(bytes, data.kind, data.is_final, &mut out);
                    } else if allowed > 0 || data.bytes.is_empty() {
                        write_data(bytes, &mut out);
                    }
                }
                Some(Content::Ping(payload)) => write_ping(&payload, &mut out),
                Some(Content::Pong(payload)) => write_pong(&payload, &mut out),
                Some(Content::Close(said)) => {
                    write_any_close(said.as_ref(), &mut out);
                    closed = true;
                }
                None => {
                    if let Some((code, reason)) = rules.lost {
                        write_close(code, reason, &mut out);
                    }
                    ended = Some(WriteEnd::ServiceClosed);
                }
            }
            if closed || ended.is_some() || cut.is_due() || out.len() >= BATCH {
                break;
            }
            content = from_peer.ready().map(Some);
        }
        if let Err(failed) = write_out(writer, is_patient, &mut out, to_peer).await {
            return failed;
        }
        if cut.is_due() {
            cut.fire();
            pending::<()>().await;
        }
        if closed {
            return WriteEnd::PeerClosed(from_peer);
        }
        if answered {
            return WriteEnd::Answered(from_peer);
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

fn write_any_close(said: Option<&(CloseCode, String)>, out: &mut Vec<u8>) {
    match said {
        Some((code, reason)) => write_close(*code, reason, out),
        None => write_close_without_code(out),
    }
}

/// Writes all of `out`. A side that is not patient has [`STALL`] to take some of it once its peer is gone.
async fn write_out<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    is_patient: bool,
    out: &mut Vec<u8>,
    to_peer: &Sender,
) -> Result<(), WriteEnd> {
    let stalled = async || {
        if is_patient {
            pending::<()>().await;
        }
        to_peer.gone().await;
        sleep(STALL).await;
    };
    let mut rest = &out[..];
    while !rest.is_empty() {
        tokio::select! {
            biased;
            written = writer.write(rest) => match written {
                Ok(count @ 1..) => rest = &rest[count..],
                _ => return Err(WriteEnd::Failed),
            },
            () = stalled() => return Err(WriteEnd::Stalled),
        }
    }
    out.clear();
    tokio::select! {
        biased;
        flushed = writer.flush() => flushed.map_err(|_| WriteEnd::Failed),
        () = stalled() => Err(WriteEnd::Stalled),
    }
}
