//! Detects while the stream is open that the caller has gone, or that a signal asks the helper to end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::platform::HelperSignal;
use crate::platform::signals::HelperSignals;
use crate::platform::stdio::{Input, InputWatch, Output, OutputWatch};

/// How often to check for writers of stdin after nobody reads stdout.
const LOOK: Duration = Duration::from_millis(100);

/// Watches the caller. It has gone when stdin has ended and either SIGHUP arrived or nobody reads stdout. An ssh under
/// nohup, or a killed one, sends no signal.
pub(super) struct Departure {
    input: InputWatch,
    eof: AtomicBool,
    hung_up: AtomicBool,
    changed: Notify,
    /// stdout has been closed.
    closed: Notify,
}

impl Departure {
    pub(super) fn watch(input: &Input) -> io::Result<Self> {
        Ok(Self {
            input: input.watch()?,
            eof: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
            changed: Notify::new(),
            closed: Notify::new(),
        })
    }

    /// Wraps `input` to note its end.
    pub(super) fn noting_end<R>(&self, input: R) -> NotingEnd<'_, R> {
        NotingEnd { input, eof: &self.eof }
    }

    /// Wraps `output` to note when it is closed.
    pub(super) fn noting_close<W>(&self, output: W) -> NotingClose<'_, W> {
        NotingClose { output, closed: &self.closed }
    }

    /// Whether all of stdin was read.
    pub(super) fn is_read_whole(&self) -> bool {
        self.eof.load(Relaxed)
    }

    fn is_input_ended(&self) -> bool {
        self.is_read_whole() || self.input.is_ended()
    }

    pub(super) fn has_gone(&self, output: &Output) -> bool {
        self.is_input_ended() && (self.hung_up.load(Relaxed) || output.is_broken())
    }

    /// Resolves when the caller has gone. `output` watches stdout.
    pub(super) async fn gone(&self, output: OutputWatch) {
        let is_closed = tokio::select! {
            () = output.broken() => false,
            () = self.changed.notified() => false,
            () = self.closed.notified() => true,
        };
        // The reader of stdout sees the end only now.
        drop(output);
        if is_closed {
            self.changed.notified().await;
        }
        while !self.is_input_ended() {
            sleep(LOOK).await;
        }
    }

    /// Resolves with the signal that asks the helper to end. Calls `stats` for a signal that asks for statistics.
    ///
    /// SIGHUP counts only while the process that started the helper lives. Under `-f` and ControlPersist it may come from a
    /// closed terminal while the session continues.
    pub(super) async fn asked(&self, signals: &mut HelperSignals, stats: impl Fn()) -> &'static str {
        loop {
            match signals.next().await {
                HelperSignal::Stats => stats(),
                HelperSignal::Terminate => return "SIGTERM",
                HelperSignal::Hangup => {
                    self.hung_up.store(true, Relaxed);
                    self.changed.notify_one();
                    if !signals.is_orphan() {
                        return "SIGHUP";
                    }
                }
            }
        }
    }
}

/// A reader that notes its end.
pub(super) struct NotingEnd<'a, R> {
    input: R,
    eof: &'a AtomicBool,
}

impl<R: AsyncRead + Unpin> AsyncRead for NotingEnd<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.input).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            self.eof.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

/// A writer that notes when it is closed.
pub(super) struct NotingClose<'a, W> {
    output: W,
    closed: &'a Notify,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for NotingClose<'_, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.output).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.output).poll_shutdown(cx))?;
        self.closed.notify_one();
        Poll::Ready(Ok(()))
    }
}
