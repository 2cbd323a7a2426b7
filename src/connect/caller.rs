//! The caller: the program behind stdin and stdout, usually ssh.

use std::cell::RefCell;
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

/// Bytes read from stdin at a time before the stream is open. ssh's identification line has at most 255.
const OPENING: usize = 4096;

/// The time limit for ssh's first bytes when the helper fails at once.
const OPENING_LIMIT: Duration = Duration::from_millis(250);

/// The time limit for ssh to read the in-band error and end.
const HEAR_OUT_LIMIT: Duration = Duration::from_secs(1);

/// How often to check whether the caller has gone.
const LOOK: Duration = Duration::from_millis(250);

/// The program that runs the helper, and its signals.
pub struct Caller {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) signals: HelperSignals,
    /// The caller's first bytes.
    pub(super) opening: Vec<u8>,
    ended: bool,
    /// An ssh that may hand the session over to a child process.
    hand_over: Option<HandOver>,
    /// The caller prints the in-band error on our stderr.
    speaks_where_we_do: bool,
}

impl Caller {
    /// The caller of this process, behind stdin and stdout.
    ///
    /// # Errors
    /// Returns an error if stdin, stdout or signals cannot be used.
    pub fn take() -> Result<Self> {
        // Signals come first: ssh sends SIGHUP as soon as it has read the end of stdout.
        let signals = HelperSignals::listen()?;
        let parent = Parent::find();
        let speaks_where_we_do = parent.as_ref().is_some_and(Parent::shows_disconnect_on_our_stderr);
        let hand_over = parent.filter(Parent::is_ssh).and_then(Parent::watch_hand_over);
        let (input, output) = take_stdio().map_err(Error::local_io("stdin and stdout"))?;
        Ok(Self { signals, hand_over, speaks_where_we_do, ..Self::at(input, output) })
    }

    /// A caller behind `input` and `output` that sends no signals.
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

    /// Releases stderr when the ssh that started this helper continues as another process, so that a program that reads
    /// ssh's stderr to its end does not wait for the helper. Never resolves.
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

    /// Reads the caller's first bytes. Resolves with an exit status when the caller has gone or sends a signal that ends the
    /// helper.
    ///
    /// Cancel-safe: the bytes read are in `opening`.
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

    /// Whether the caller is an ssh client. Waits shortly for its identification. With `silent_is_ssh`, a silent caller also
    /// counts as one.
    pub(super) async fn is_ssh(&mut self, silent_is_ssh: bool) -> bool {
        if self.input.is_terminal() || self.output.is_terminal() {
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

    /// Sends an ssh client the in-band error. No byte from the device may have been written before.
    pub(super) async fn tell(&mut self, error: &Error) {
        let message = disconnect::message(error);
        let telling = async {
            self.output.write_all(&message).await?;
            self.output.flush().await
        };
        // Fails if the caller has gone.
        let _: std::result::Result<io::Result<()>, Elapsed> = timeout(OPENING_LIMIT, telling).await;
    }

    /// Reads until an ssh client ends after the in-band error. If nobody read, ssh would report a broken pipe instead of the
    /// error.
    pub(super) async fn hear_out(&mut self) {
        let listening = async { while hear(&mut self.input, &mut Vec::new()).await.is_some() {} };
        let _: std::result::Result<(), Elapsed> = timeout(HEAR_OUT_LIMIT, listening).await;
    }

    /// Closes stdout and reads until an ssh client ends. If nobody read, ssh would report a broken pipe instead of the end.
    pub(super) async fn close(&mut self) {
        if self.has_said_ssh() && self.output.shutdown().await.is_ok() {
            self.hear_out().await;
        }
    }

    /// Whether the caller has sent an ssh client's identification.
    pub(super) fn has_said_ssh(&self) -> bool {
        disconnect::is_ssh(&self.opening)
    }

    /// Whether the caller prints the in-band error on our stderr, where ours would repeat it.
    pub(super) fn speaks_where_we_do(&self) -> bool {
        self.speaks_where_we_do
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// stdin of an open stream. The first bytes show whether the caller is ssh, and some callers send them only now.
pub(super) struct NotingOpening<'a> {
    pub(super) input: &'a mut Input,
    pub(super) opening: &'a RefCell<&'a mut Vec<u8>>,
}

impl AsyncRead for NotingOpening<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.input).poll_read(cx, buf))?;
        let mut opening = self.opening.borrow_mut();
        if disconnect::is_beginning(&opening) {
            opening.extend(buf.filled()[before..].iter().take(OPENING));
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads from stdin once; `None` at its end. Cancel-safe.
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
