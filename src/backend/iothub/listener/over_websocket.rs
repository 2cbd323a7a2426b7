//! The byte stream of MQTT over a WebSocket.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

use crate::net::{Stream, WebSocket};
use crate::tunnel::{self, Close, Controls, End, Meter, Settings};

/// Without keepalive, because MQTT has one, and without a reset, which could lose the last answers.
const BRIDGE: Settings = Settings { reset: false, ..Settings::BRIEF };

/// The buffer in bytes between MQTT and the WebSocket.
const BUFFER: usize = 16 * 1024;

/// The MQTT side of the bridge. Reads fail with the reason for the WebSocket's end.
pub(super) struct OverWebSocket {
    io: DuplexStream,
    end: Option<oneshot::Receiver<End>>,
}

impl OverWebSocket {
    /// Carries MQTT as the WebSocket's byte stream \[S], in a task that ends with either side.
    pub(super) fn new(websocket: WebSocket<Stream>) -> Self {
        let (io, theirs) = tokio::io::duplex(BUFFER);
        let (tell, end) = oneshot::channel();
        tokio::spawn(async move {
            let local = tokio::io::split(theirs);
            let controls = Controls { hangup: pending(), gone: pending(), ends_with_peer: || false };
            let meter = Meter::default();
            let bridge = tunnel::bridge(local, websocket.io, &websocket.early, &BRIDGE, &meter, controls);
            // Fails if the hub connection has been dropped.
            let _ = tell.send(bridge.await);
        });
        Self { io, end: Some(end) }
    }
}

impl AsyncRead for OverWebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(Ok(())) };
        let ended = ready!(Pin::new(end).poll(cx));
        self.end = None;
        Poll::Ready(match ended {
            Ok(End::Violation(what)) => {
                Err(io::Error::other(format!("it broke the WebSocket protocol: {what}")))
            }
            Ok(
                End::Peer(Close { code: Some(code), reason })
                | End::PeerFailed(Close { code: Some(code), reason }),
            ) => {
                let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                Err(io::Error::other(format!("it closed its WebSocket with {code}{reason}")))
            }
            Ok(End::Peer(Close { code: None, .. })) => {
                Err(io::Error::other("it closed its WebSocket without a code"))
            }
            Ok(End::PeerEmptied) => Err(io::Error::other("it sends nothing but empty WebSocket messages")),
            Ok(End::Cut(error)) => Err(error),
            _ => Ok(()),
        })
    }
}

impl AsyncWrite for OverWebSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
