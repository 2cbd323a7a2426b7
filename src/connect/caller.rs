//! Whoever runs the helper: most often ssh, at the other ends of stdin and stdout.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::error::{self, Error};
use crate::logging;
use crate::platform::parent::{HandOver, Parent};
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

pub(crate) struct Caller {
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// What the caller has said so far.
    pub(crate) opening: Vec<u8>,
    ended: bool,
    /// Of an ssh that may hand over to a child of its own.
    hand_over: Option<HandOver>,
    /// It shows on our own stderr what it is told in band.
    speaks_where_we_do: bool,
}

impl Caller {
    pub(crate) fn take() -> error::Result<Self> {
        let parent = Parent::find();
        let speaks_where_we_do = parent.as_ref().is_some_and(Parent::shows_disconnect_on_our_stderr);
        let hand_over = parent.filter(Parent::is_ssh).and_then(Parent::watch_hand_over);
        let (input, output) = take_stdio().map_err(Error::local_io("stdin and stdout"))?;
        Ok(Self { input, output, opening: Vec::new(), ended: false, hand_over, speaks_where_we_do })
    }

    /// Lets go of stderr once the ssh that started this helper goes on as another process: whoever reads ssh's stderr to
    /// its end waits for nothing else then. Resolves never.
    pub(crate) fn release_stderr_in_time(&mut self) -> impl Future<Output = Infallible> + use<> {
        let hand_over = self.hand_over.take();
        async {
            if let Some(hand_over) = hand_over {
                hand_over.done().await;
                logging::release_stderr();
            }
            pending().await
        }
    }

    /// Takes what the caller says first, and resolves once it has gone.
    ///
    /// Cancel-safe: what has been taken is in `opening`.
    pub(crate) async fn gone(&mut self) {
        loop {
            if self.opening.is_empty() && !self.ended {
                tokio::select! {
                    result = hear(&mut self.input, &mut self.opening) => self.ended = result.is_none(),
                    () = sleep(LOOK) => {}
                }
            } else {
                sleep(LOOK).await;
            }
            if self.output.is_broken() {
                return;
            }
        }
    }

    /// Whether an ssh client is there: one that has said so, or says so within a moment. Where `silent_is_ssh`, one that
    /// says nothing is taken for one, too.
    pub(crate) async fn is_ssh(&mut self, silent_is_ssh: bool) -> bool {
        if matches!(self.input, Input::Terminal(_)) || self.output.is_terminal() {
            return false;
        }
        let listening = async {
            while !self.ended && disconnect::is_beginning(&self.opening) {
                self.ended = hear(&mut self.input, &mut self.opening).await.is_none();
            }
        };
        let _: Result<(), Elapsed> = timeout(OPENING_LIMIT, listening).await;
        let is_silent = self.opening.is_empty() && !self.ended;
        self.has_said_ssh() || silent_is_ssh && is_silent
    }

    /// Tells an ssh client the reason, in band. Nothing of the remote's may have been written before.
    pub(crate) async fn tell(&mut self, error: &Error) {
        let message = disconnect::message(error);
        let telling = async {
            self.output.write_all(&message).await?;
            self.output.flush().await
        };
        // A caller that has gone is not told.
        let _: Result<io::Result<()>, Elapsed> = timeout(OPENING_LIMIT, telling).await;
    }

    /// Waits for an ssh client that has been told to end. It may be in the middle of saying something itself, and would
    /// report a broken pipe instead of the reason if nobody listened.
    pub(crate) async fn hear_out(&mut self) {
        let listening = async { while hear(&mut self.input, &mut Vec::new()).await.is_some() {} };
        let _: Result<(), Elapsed> = timeout(HEAR_OUT_LIMIT, listening).await;
    }

    /// Closes stdout and hears an ssh client out: it says a last word to a connection that has ended, and would report
    /// stdin's broken pipe in place of the end.
    pub(crate) async fn close(&mut self) {
        if self.has_said_ssh() && self.output.shutdown().await.is_ok() {
            self.hear_out().await;
        }
    }

    /// Whether an ssh client is there for certain.
    pub(crate) fn has_said_ssh(&self) -> bool {
        disconnect::is_ssh(&self.opening)
    }

    /// Whether a user who sees what ssh says in our stead would read the same twice.
    pub(crate) fn speaks_where_we_do(&self) -> bool {
        self.speaks_where_we_do
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
