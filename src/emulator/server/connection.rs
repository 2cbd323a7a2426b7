//! A client's connection, and what is left of it after an upgrade.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::head::Recording;
use super::linger::{Linger, linger};
use crate::net::{ServerStream, carrier};

/// The bytes of [`super::Reply::Garbage`].
const GARBAGE: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46 no HTTP here\r\n\r\n";

/// A connection whose heads are recorded, and whose next answer can be replaced by bytes that are not HTTP.
pub(super) struct Connection {
    io: ServerStream<TcpStream>,
    garbage: Arc<AtomicBool>,
    recording: Arc<Recording>,
}

impl Connection {
    /// Records what is read, and writes garbage instead of the next answer once `garbage` is set.
    pub(super) fn new(
        io: ServerStream<TcpStream>,
        garbage: Arc<AtomicBool>,
        recording: Arc<Recording>,
    ) -> Self {
        Self { io, garbage, recording }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        self.recording.add(&buf.filled()[before..]);
        poll
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.garbage.load(Relaxed) {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        }
        match Pin::new(&mut self.io).poll_write(cx, GARBAGE) {
            Poll::Ready(Ok(_)) => {
                self.garbage.store(false, Relaxed);
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A connection that has left HTTP behind with a 101.
#[derive(Debug)]
pub(in crate::emulator) struct Upgraded(TokioIo<hyper::upgrade::Upgraded>);

impl Upgraded {
    pub(super) fn new(upgraded: hyper::upgrade::Upgraded) -> Self {
        Self(TokioIo::new(upgraded))
    }

    /// Ends the connection in a way that its client notices, even if the client does not read.
    pub(in crate::emulator) async fn end(self, how: Linger) {
        let Ok(parts) = self.0.into_inner().downcast::<TokioIo<Connection>>() else { return };
        let connection = parts.io.into_inner();
        linger(carrier(&connection.io), how).await;
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
