//! The connection under TLS: TCP, or TLS to an HTTPS proxy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls_stream::{TlsStream, carrier};
use crate::platform::{TcpInfo, tcp};
use crate::tunnel::{Keepalive, Remote};

/// A connection to a server, direct or through a proxy, before TLS with that server.
#[derive(Debug)]
pub enum Carrier {
    /// TCP to the server, or to a proxy without TLS.
    Tcp(TcpStream),
    /// TLS to an HTTPS proxy.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(io) => io,
            Self::Tls(io) => carrier(io),
        }
    }
}

impl Remote for TlsStream<Carrier> {
    fn tcp_info(&self) -> Option<TcpInfo> {
        tcp::info(carrier(self).tcp())
    }

    fn probe(&self, keepalive: Keepalive) {
        tcp::probe(carrier(self).tcp(), keepalive.ping, keepalive.dead.saturating_sub(keepalive.ping));
    }

    fn reset_on_drop(&self, reset: bool) {
        tcp::reset_on_close(carrier(self).tcp(), reset);
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
