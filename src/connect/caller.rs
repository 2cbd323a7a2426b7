//! The caller: what runs the helper, most often ssh, at the other ends of stdin and stdout.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Exit, Result};
use crate::logging;
use crate::platform::parent::{HandOver, Parent};
use crate::platform::signals::HelperSignals;
use crate::platform::stdio::{Input, Output, take_stdio};
use crate::ssh::disconnect;

/// What is taken of stdin before there is a stream: ssh's identification line is at most 255 bytes.
const OPENING: usize = 4096;

/// How long ssh's first bytes may take when the helper fails at once.
const OPENING_LIMIT: Duration = Duration::from_millis(250);

/// How long ssh may take to read the reason and to end.
const HEAR_OUT_LIMIT: Duration = Duration::from_secs(1);

/// How often a caller that has gone is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// What runs the helper, and the signals that it sends.
pub struct Caller {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) signals: HelperSignals,
    /// What the caller has said first.
    pub(super) opening: Vec<u8>,
    ended: bool,
    /// Of an ssh that may hand over to a child of its own.
    hand_over: Option<HandOver>,
    /// It shows on our own stderr what it is told in band.
    speaks_where_we_do: bool,
}

impl Caller {
    /// The caller of this process, at stdin and stdout.
    ///
    /// # Errors
    /// When they cannot be taken over, or signals cannot be handled.
    pub fn take() -> Result<Self> {
        // First of all: ssh hangs up on a helper as soon as it has read its last words.
        let signals = HelperSignals::listen()?;
        let parent = Parent::find();
        let speaks_where_we_do = parent.as_ref().is_some_and(Parent::shows_disconnect_on_our_stderr);
        let hand_over = parent.filter(Parent::is_ssh).and_then(Parent::watch_hand_over);
        let (input, output) = take_stdio().map_err(Error::local_io("stdin and stdout"))?;
        Ok(Self { signals, hand_over, speaks_where_we_do, ..Self::at(input, output) })
    }

    /// A caller at `input` and `output`, which sends no signals.
    pub fn at(input: Input, output: Output) -> Self {
        Self {
            input,
            output,
            signals: HelperSignals::none(),
            opening: Vec::new(),
            ended: false,
            hand_over: None,
            speaks_where_we_do: false,
        }
    }

    /// Releases stderr once the ssh that started this helper goes on as another process: a program that reads ssh's stderr
    /// to its end then waits for nothing else. Never resolves.
    pub(super) fn release_stderr_in_time(&mut self) -> impl Future<Output = Infallible> + use<> {
        let hand_over = self.hand_over.take();
        async {
            if let Some(hand_over) = hand_over {
                hand_over.done().await;
                logging::release_stderr();
            }
            pending().await
        }
    }

    /// Takes what the caller says first, and resolves once it has gone or sends a signal that ends the helper, with the
    /// exit status for that.
    ///
    /// Cancel-safe: what has been taken is in `opening`.
    pub(super) async fn gone(&mut self) -> Exit {
        let Self { input, output, signals, opening, ended, .. } = self;
        let left = async {
            loop {
                tokio::select! {
                    heard = hear(input, opening), if opening.is_empty() && !*ended => *ended = heard.is_none(),
                    () = sleep(LOOK) => {}
                }
                if output.is_broken() {
                    return;
                }
            }
        };
        tokio::select! {
            () = signals.hangup() => Exit::Temporary,
            () = left => Exit::LocalIo,
        }
    }

    /// Whether the caller is an ssh client: it has said so, or says so within a moment. Where `silent_is_ssh`, one that says
    /// nothing is taken for one, too.
    pub(super) async fn is_ssh(&mut self, silent_is_ssh: bool) -> bool {
        if matches!(self.input, Input::Terminal(_)) || self.output.is_terminal() {
            return false;
        }
        let listening = async {
            while !self.ended && disconnect::is_beginning(&self.opening) {
                self.ended = hear(&mut self.input, &mut self.opening).await.is_none();
            }
        };
        let _: std::result::Result<(), Elapsed> = timeout(OPENING_LIMIT, listening).await;
        let is_silent = self.opening.is_empty() && !self.ended;
        self.has_said_ssh() || silent_is_ssh && is_silent
    }

    /// Tells an ssh client the reason, in band. Nothing of the remote's may have been written before.
    pub(super) async fn tell(&mut self, error: &Error) {
        let message = disconnect::message(error);
        let telling = async {
            self.output.write_all(&message).await?;
            self.output.flush().await
        };
        // A caller that has gone is not told.
        let _: std::result::Result<io::Result<()>, Elapsed> = timeout(OPENING_LIMIT, telling).await;
    }

    /// Waits for the end of an ssh client that has been told the reason. It may be writing, and would report a broken pipe
    /// instead of the reason if nobody read.
    pub(super) async fn hear_out(&mut self) {
        let listening = async { while hear(&mut self.input, &mut Vec::new()).await.is_some() {} };
        let _: std::result::Result<(), Elapsed> = timeout(HEAR_OUT_LIMIT, listening).await;
    }

    /// Closes stdout and reads an ssh client to its end: it still writes to a connection that has ended, and would report
    /// stdin's broken pipe in place of the end.
    pub(super) async fn close(&mut self) {
        if self.has_said_ssh() && self.output.shutdown().await.is_ok() {
            self.hear_out().await;
        }
    }

    /// Whether the caller is an ssh client for certain.
    pub(super) fn has_said_ssh(&self) -> bool {
        disconnect::is_ssh(&self.opening)
    }

    /// Whether a user would read the same twice, from ssh and from us.
    pub(super) fn speaks_where_we_do(&self) -> bool {
        self.speaks_where_we_do
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// stdin of an open stream. What the caller says first shows whether it is ssh, and some speak only once the stream is up.
pub(super) struct NotingOpening<'a> {
    pub(super) input: &'a mut Input,
    pub(super) opening: &'a mut Vec<u8>,
}

impl AsyncRead for NotingOpening<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.input).poll_read(cx, buf))?;
        if disconnect::is_beginning(self.opening) {
            self.opening.extend(buf.filled()[before..].iter().take(OPENING));
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes what there is of stdin; `None` at its end.
async fn hear(input: &mut Input, opening: &mut Vec<u8>) -> Option<()> {
    let mut room = [0; OPENING];
    match input.read(&mut room).await {
        Ok(count @ 1..) => {
            opening.extend_from_slice(&room[..count]);
            Some(())
        }
        _ => None,
    }
}
