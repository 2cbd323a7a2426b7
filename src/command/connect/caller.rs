//! Whoever runs the helper: most often ssh, at the other ends of stdin and stdout.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::disconnect;
use crate::error::{self, Error};
use crate::tunnel::{Input, Output, take_stdio};

/// What is taken of stdin before there is a stream: ssh's identification line is at most 255 bytes.
const OPENING: usize = 4096;

/// How long ssh's first bytes may take when the helper fails at once.
const OPENING_LIMIT: Duration = Duration::from_millis(200);

/// How long ssh may take to read the reason and to end.
const HEAR_OUT_LIMIT: Duration = Duration::from_secs(1);

/// How often a caller that has gone is looked for.
const LOOK: Duration = Duration::from_millis(250);

pub(super) struct Caller {
    pub(super) input: Input,
    pub(super) output: Output,
    /// What the caller has said so far.
    pub(super) opening: Vec<u8>,
    ended: bool,
}

impl Caller {
    pub(super) fn take() -> error::Result<Self> {
        let (input, output) = take_stdio().map_err(Error::local_io("stdin and stdout"))?;
        Ok(Self { input, output, opening: Vec::new(), ended: false })
    }

    /// Takes what the caller says first, and resolves once it has gone.
    ///
    /// Cancel-safe: what has been taken is in `opening`.
    pub(super) async fn gone(&mut self) {
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

    /// Whether an ssh client may be there: stdin began as its, or is still silent after a moment.
    pub(super) async fn may_be_ssh(&mut self) -> bool {
        if self.opening.is_empty() && !self.ended {
            match timeout(OPENING_LIMIT, hear(&mut self.input, &mut self.opening)).await {
                Ok(heard) => self.ended = heard.is_none(),
                Err(_silent) => {}
            }
        }
        !self.output.is_terminal() && !self.ended && disconnect::may_be_ssh(&self.opening)
    }

    /// Tells an ssh client the reason, in band. Nothing of the remote's may have been written before.
    pub(super) async fn tell(&mut self, error: &Error) {
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
    pub(super) async fn hear_out(&mut self) {
        let listening = async { while hear(&mut self.input, &mut Vec::new()).await.is_some() {} };
        let _: Result<(), Elapsed> = timeout(HEAR_OUT_LIMIT, listening).await;
    }

    /// Whether an ssh client is there for certain.
    pub(super) fn is_ssh(&self) -> bool {
        !self.opening.is_empty() && disconnect::may_be_ssh(&self.opening)
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
