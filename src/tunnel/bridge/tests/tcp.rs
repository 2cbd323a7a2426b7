//! A connection whose TCP state the test sets.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;

struct Tcp {
    io: DuplexStream,
    info: Arc<Mutex<TcpInfo>>,
    /// Whether dropping it resets it, as last set.
    reset: Arc<Mutex<bool>>,
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
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

impl Remote for Tcp {
    fn tcp_info(&self) -> Option<TcpInfo> {
        Some(*self.info.lock().unwrap())
    }
    fn probe(&self, _: Keepalive) {}
    fn reset_on_drop(&self, reset: bool) {
        *self.reset.lock().unwrap() = reset;
    }
}

pub(super) const HEALTHY: TcpInfo = TcpInfo {
    closed: false,
    unacknowledged: false,
    queued: false,
    repeats: false,
    behind_gap: 0,
    last_ack: Duration::ZERO,
};

/// An agent's bridge over such a connection, its TCP state, and whether it is reset at its end.
pub(super) async fn over_tcp(
    pipe: usize,
    settings: Settings,
) -> (Ends, Arc<Mutex<TcpInfo>>, Arc<Mutex<bool>>) {
    let (info, reset) = (Arc::new(Mutex::new(HEALTHY)), Arc::default());
    let (io, wire) = duplex(pipe);
    let remote = Tcp { io, info: Arc::clone(&info), reset: Arc::clone(&reset) };
    (ends_over(pipe, remote, wire, settings, b"").await, info, reset)
}
