//! The connection under a bridge's WebSocket, which both pumps share.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::platform::TcpInfo;

/// The time limits of a silent peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The interval of pings during silence.
    pub ping: Duration,
    /// The silence after which the peer counts as dead.
    pub dead: Duration,
}

impl Keepalive {
    /// Pings within the idle limits of proxies and NAT. A peer is dead just after TCP's retransmission at 102 s, so that a
    /// stream survives an outage of a minute.
    pub const DEFAULT: Self = Self { ping: Duration::from_secs(30), dead: Duration::from_secs(110) };

    /// Pings after `interval`; the peer is dead after twice as long. `None`, which disables both, for zero.
    pub fn every(interval: Duration) -> Option<Self> {
        (!interval.is_zero()).then(|| Self { ping: interval, dead: interval.saturating_mul(2) })
    }
}

/// A connection that carries a WebSocket.
pub trait Remote: AsyncRead + AsyncWrite + Unpin {
    /// The state of the TCP connection, on systems that report it.
    fn tcp_info(&self) -> Option<TcpInfo>;

    /// Lets the system probe an idle connection and end it after `keepalive.dead`.
    fn probe(&self, keepalive: Keepalive);

    /// Sets whether dropping resets the connection. A reset reaches the peer at once and loses unacknowledged bytes.
    fn reset_on_drop(&self, reset: bool);
}

impl<R: Remote + ?Sized> Remote for Box<R> {
    fn tcp_info(&self) -> Option<TcpInfo> {
        (**self).tcp_info()
    }

    fn probe(&self, keepalive: Keepalive) {
        (**self).probe(keepalive);
    }

    fn reset_on_drop(&self, reset: bool) {
        (**self).reset_on_drop(reset);
    }
}

/// A connection that one pump reads, the other writes, and the watch inspects.
pub(super) struct Shared<S>(Mutex<S>);

impl<S: Remote> Shared<S> {
    pub(super) fn new(remote: S) -> Self {
        Self(Mutex::new(remote))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Remote> AsyncRead for &Shared<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buf)
    }
}

impl<S: Remote> AsyncWrite for &Shared<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
