//! When the caller has gone, and when somebody asks the helper to end, while the stream is up.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::caller::Caller;
use crate::platform::signals::{HelperSignal, HelperSignals};
use crate::platform::stdio::{InputWatch, OutputWatch};

/// How often stdin's writers are looked for once nobody reads stdout.
const LOOK: Duration = Duration::from_millis(100);

/// Watches the caller: it has gone when stdin has ended, and a SIGHUP came or nobody reads stdout. ssh under nohup, or
/// killed, sends no signal.
pub(crate) struct Departure {
    input: InputWatch,
    output: OutputWatch,
    eof: AtomicBool,
    hung_up: AtomicBool,
    changed: Notify,
}

impl Departure {
    pub(crate) fn watch(caller: &Caller) -> io::Result<Self> {
        Ok(Self {
            input: caller.input.watch()?,
            output: caller.output.watch()?,
            eof: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// `input`, whose end is noted.
    pub(crate) fn noting_end<R>(&self, input: R) -> NotingEnd<'_, R> {
        NotingEnd { input, eof: &self.eof }
    }

    /// Whether all of stdin was read.
    pub(crate) fn is_read_whole(&self) -> bool {
        self.eof.load(Relaxed)
    }

    fn is_input_ended(&self) -> bool {
        self.is_read_whole() || self.input.is_ended()
    }

    pub(crate) fn has_gone(&self) -> bool {
        self.is_input_ended() && (self.hung_up.load(Relaxed) || self.output.is_broken())
    }

    /// Resolves once the caller has gone. Cancel-safe.
    pub(crate) async fn gone(&self) {
        tokio::select! {
            () = self.output.broken() => {}
            () = self.changed.notified() => {}
        }
        while !self.is_input_ended() {
            sleep(LOOK).await;
        }
    }

    /// Resolves once a signal asks the helper to end: which. SIGHUP does so for as long as whoever started the helper is
    /// there; under `-f` and ControlPersist it may be that of a terminal which is closed, and the session goes on.
    pub(crate) async fn asked(&self, signals: &mut HelperSignals, stats: impl Fn()) -> &'static str {
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

/// A reader whose end is noted.
pub(crate) struct NotingEnd<'a, R> {
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
