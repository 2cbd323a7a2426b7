//! What a bridge needs of the connection that carries its WebSocket, and that connection shared by both pumps.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a peer may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which the peer is pinged, and again for as long as it lasts.
    pub ping: Duration,
    /// Silence after which the peer is dead.
    pub dead: Duration,
}

impl Keepalive {
    /// Kept open through the idle limits of proxies and NAT, and dead just after TCP's try at 102 s: an outage of a
    /// minute is survived.
    pub const DEFAULT: Self = Self { ping: Duration::from_secs(30), dead: Duration::from_secs(110) };

    /// A ping after `interval`, dead after twice as long; `None`, which is never, where it is zero.
    pub fn every(interval: Duration) -> Option<Self> {
        (!interval.is_zero()).then(|| Self { ping: interval, dead: interval.saturating_mul(2) })
    }
}

/// What the system knows of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The peer has ended its side, or the connection is lost.
    pub ended: bool,
    /// The peer has not acknowledged data or a window probe yet.
    pub owing: bool,
    /// Something of ours has not been acknowledged, sent or not.
    pub queued: bool,
    /// Since the last acknowledgement.
    pub answered: Duration,
}

/// A connection that carries a WebSocket.
pub trait Remote: AsyncRead + AsyncWrite + Unpin {
    /// How the connection stands, where the system tells.
    fn line(&self) -> Option<Line>;

    /// Has the system probe a connection on which nothing is under way, and end it after `keepalive.dead`.
    fn probe(&self, keepalive: Keepalive);

    /// Whether the connection is reset when it is dropped: what was sent and not acknowledged is lost then, and the peer
    /// knows at once.
    fn reset_on_drop(&self, reset: bool);
}

impl<R: Remote + ?Sized> Remote for Box<R> {
    fn line(&self) -> Option<Line> {
        (**self).line()
    }

    fn probe(&self, keepalive: Keepalive) {
        (**self).probe(keepalive);
    }

    fn reset_on_drop(&self, reset: bool) {
        (**self).reset_on_drop(reset);
    }
}

/// A connection that one pump reads, the other writes, and the watch asks how it stands.
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
