//! Who decides whether a stream is let in: nobody, a person at the device's terminal, or a program.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use rustix::termios::{QueueSelector, tcflush, tcgetpgrp};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::environment::Facts;
use super::said::Said;
use crate::error::escape;
use crate::text::duration;

/// What a line typed at the terminal may have.
const MAX_LINE: u64 = 1024;

/// How a target's streams are approved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Approve {
    #[default]
    Always,
    Never,
    /// A person at the terminal.
    Ask,
    /// A program: exit status 0 approves.
    Command(Vec<String>),
}

/// The device's terminal, at which one question is asked at a time.
#[derive(Debug, Default)]
pub(super) struct Terminal(Mutex<()>);

impl Approve {
    /// The name of the way, for the audit log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Approve::Always => "always",
            Approve::Never => "never",
            Approve::Ask => "ask",
            Approve::Command(_) => "command",
        }
    }

    /// Decides within `limit`.
    ///
    /// # Errors
    /// Why the stream is not let in.
    pub(super) async fn decide(
        &self,
        facts: &Facts<'_>,
        terminal: &Terminal,
        limit: Duration,
    ) -> Result<(), String> {
        match self {
            Approve::Always => Ok(()),
            Approve::Never => Err("the configuration says approve = \"never\"".into()),
            Approve::Ask => timeout(limit, terminal.ask(facts))
                .await
                .unwrap_or_else(|_| Err(format!("nobody answered within {}", duration::show(limit)))),
            Approve::Command(words) => run(words, facts, limit).await.inspect_err(|_| {
                log::warn!(
                    "hint: an approve command finds little of the agent's environment: what it needs more of, such as \
                     HTTPS_PROXY, the target's pass-environment names"
                );
            }),
        }
    }
}

impl Terminal {
    /// Asks; what is not a yes is a no.
    async fn ask(&self, facts: &Facts<'_>) -> Result<(), String> {
        let _turn = self.0.lock().await;
        let no_terminal = |error: std::io::Error| format!("there is no terminal to ask at: {error}");
        let open = std::fs::File::options()
            .read(true)
            .write(true)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default())
            .open("/dev/tty");
        let mut terminal = open.map_err(no_terminal)?;
        // Whoever asks from the background is stopped, and every stream with it.
        if tcgetpgrp(&terminal).ok() != Some(getpgrp()) {
            return Err("there is no terminal to ask at: the agent is in its background".into());
        }
        // What was typed before the question is no answer to it.
        let _ = tcflush(&terminal, QueueSelector::IFlush);
        let question = format!(
            "\r\niotstream: let the stream '{}' in to {}? [y/N] ",
            escape(facts.stream),
            escape(&facts.target)
        );
        terminal.write_all(question.as_bytes()).map_err(no_terminal)?;
        // A terminal is no pipe, and is waited for in the same way.
        let terminal = pipe::Receiver::from_file_unchecked(terminal).map_err(no_terminal)?;
        let mut line = Vec::new();
        let mut terminal = BufReader::new(terminal.take(MAX_LINE));
        terminal.read_until(b'\n', &mut line).await.map_err(no_terminal)?;
        let answer = String::from_utf8_lossy(&line).trim().to_ascii_lowercase();
        if matches!(answer.as_str(), "y" | "yes") { Ok(()) } else { Err("declined at the terminal".into()) }
    }
}

/// Runs a program that decides. It has the facts in its environment, and as JSON on its stdin.
async fn run(words: &[String], facts: &Facts<'_>, limit: Duration) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Err("the approve command is empty".into()) };
    let failed = |error: std::io::Error| format!("approve command {program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(facts.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A group of its own, so that what it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let _said = child.stderr.take().map(|stderr| Said::by(program, facts.stream, stderr));
    let deciding = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that goes by its environment need not read.
            let _ = stdin.write_all(format!("{}\n", facts.json()).as_bytes()).await;
        }
        child.wait().await
    };
    let decided = timeout(limit, deciding).await;
    if decided.is_ok() {
        group.0 = None;
    }
    match decided {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("approve command {program}: {status}")),
        Ok(Err(error)) => Err(failed(error)),
        Err(_elapsed) => {
            drop(group);
            // It may have ended just now.
            let _ = child.wait().await;
            Err(format!(
                "approve command {program}: no decision within {}, and killed",
                duration::show(limit)
            ))
        }
    }
}

/// The processes of a program that has not ended, which are killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // They may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
