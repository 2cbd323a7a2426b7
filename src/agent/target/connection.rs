//! A connection to a target.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{sleep, timeout};

use super::command_exit::Process;
use crate::platform::tcp;

/// How often to check whether a target has taken the last bytes of a stream that was cut.
const LOOK: Duration = Duration::from_millis(10);

/// A connection to a target.
pub(in crate::agent) struct Connection {
    /// What it is connected to, as the audit log names it.
    pub(in crate::agent) target: String,
    pub(in crate::agent) read: Box<dyn AsyncRead + Send + Unpin>,
    pub(in crate::agent) write: Writer,
    pub(in crate::agent) process: Process,
}

impl Connection {
    /// Both directions as one.
    pub(in crate::agent) fn join(self) -> impl AsyncRead + AsyncWrite + Send + Unpin {
        tokio::io::join(self.read, self.write)
    }

    /// A connection without a process.
    pub(super) fn new(target: String, read: Box<dyn AsyncRead + Send + Unpin>, write: Writer) -> Self {
        Self { target, read, write, process: Process::none() }
    }
}

/// The writing half of a target.
pub(in crate::agent) enum Writer {
    Tcp {
        half: OwnedWriteHalf,
        /// It has been shut down.
        has_ended: bool,
    },
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Writer {
    /// Begins the stream. Until its input is shut down, a TCP target is reset if the agent is killed.
    pub(in crate::agent) fn begin(&self) {
        if let Self::Tcp { half, .. } = self {
            tcp::reset_on_close(half.as_ref(), true);
        }
    }

    /// Whether the target is reached over TCP.
    pub(in crate::agent) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// Ends the target's input. A TCP target whose input was not shut down is reset once the other half is dropped, because
    /// half an upload must not look whole. It gets `limit` to take the bytes written.
    pub(in crate::agent) async fn end(self, limit: Duration) {
        let Self::Tcp { half, has_ended: false } = self else { return };
        let taken = async {
            while tcp::info(half.as_ref()).is_some_and(|tcp| tcp.queued) {
                sleep(LOOK).await;
            }
        };
        // A reset discards what is still queued.
        let _ = timeout(limit, taken).await;
        half.forget();
    }

    fn inner(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Tcp { half, .. } => Pin::new(half),
            Self::Other(other) => Pin::new(other),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.inner().poll_shutdown(cx))?;
        if let Self::Tcp { half, has_ended } = this {
            *has_ended = true;
            tcp::reset_on_close(half.as_ref(), false);
        }
        Poll::Ready(Ok(()))
    }
}
