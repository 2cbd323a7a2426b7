//! Writes to one side what its peer sent.

use std::future::pending;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::notices::{Notice, Notices};
use crate::emulator::iothub::gateway::cut::Cut;
use crate::emulator::iothub::gateway::side::Side;
use crate::emulator::pipe::{Content, Receiver, Sender};
use crate::emulator::websocket::frames::{write_close, write_data, write_ping, write_pong};

/// How long a device may take nothing once its user's connection is gone.
pub(super) const STALL: Duration = Duration::from_secs(2);
/// Frames are gathered up to here before they are written.
const BATCH: usize = 128 << 10;
/// Room for a batch, and for the frame that exceeds it.
const BUFFER: usize = BATCH + (64 << 10);

/// Why a side is not written to any more.
pub(super) enum WriteEnd {
    /// It was sent its peer's Close. The pipe is kept: without it, the peer would take this side for gone.
    PeerClosed(Receiver),
    /// It was sent a Close of the gateway's.
    GatewayClosed,
    /// Its connection has failed.
    Failed,
    /// It does not read, and its peer is gone.
    Stalled,
}

/// Writes what the peer sent, and pongs, until the peer ends or this side breaks the protocol.
pub(super) async fn write_frames<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    side: Side,
    mut from_peer: Receiver,
    to_peer: &Sender,
    notices: &Notices,
    cut: &Cut,
) -> WriteEnd {
    let mut out = Vec::with_capacity(BUFFER);
    loop {
        let mut content = tokio::select! {
            content = from_peer.next() => Some(content),
            () = notices.changed() => from_peer.ready().map(Some),
        };
        let (mut ended, mut closed) = (None, false);
        let Notice { ping, probe, violation, .. } = notices.take();
        if let Some(code) = violation {
            write_close(code, "", &mut out);
            ended = Some(WriteEnd::GatewayClosed);
            content = None;
        } else if let Some(ping) = ping {
            write_pong(&ping, &mut out);
        } else if probe {
            write_ping(&mut out);
        }
        while let Some(next) = content {
            match next {
                Some(Content::Data(data)) => {
                    let allowed = cut.take(data.len());
                    if allowed > 0 {
                        write_data(&data[..allowed], &mut out);
                    }
                }
                Some(Content::Empty) => write_data(&[], &mut out),
                Some(Content::Close(code, reason)) => {
                    write_close(code, &reason, &mut out);
                    closed = true;
                }
                None => {
                    write_close(CloseCode::Error, "WS disconnected", &mut out);
                    ended = Some(WriteEnd::GatewayClosed);
                }
            }
            if closed || ended.is_some() || cut.is_due() || out.len() >= BATCH {
                break;
            }
            content = from_peer.ready().map(Some);
        }
        if let Err(failed) = write_out(writer, side, &mut out, to_peer).await {
            return failed;
        }
        if cut.is_due() {
            cut.fire();
            pending::<()>().await;
        }
        if closed {
            return WriteEnd::PeerClosed(from_peer);
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// Writes all of `out`. A device whose user is gone has [`STALL`] to take some of it.
async fn write_out<S: AsyncRead + AsyncWrite>(
    writer: &mut WriteHalf<S>,
    side: Side,
    out: &mut Vec<u8>,
    to_peer: &Sender,
) -> Result<(), WriteEnd> {
    let stalled = async || {
        if side == Side::Service {
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
