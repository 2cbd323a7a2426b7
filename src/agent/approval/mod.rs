//! Whether a target's streams are approved: always, never, by a person at the device's terminal, or by a program.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::environment::Facts;
use super::stderr_log::StderrLog;
use crate::error::escape;
use crate::platform::child::Group;
use crate::platform::terminal;
use crate::text::duration;

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

/// The device's terminal, which asks one question at a time.
#[derive(Debug, Default)]
pub(super) struct Terminal(Mutex<()>);

impl Approve {
    /// The name in the configuration and in the audit log.
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
    /// Why the stream is not approved.
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
                    "hint: an approve command gets few of the agent's environment variables: the target's pass-environment \
                     names those it needs as well, such as HTTPS_PROXY"
                );
            }),
        }
    }
}

impl Terminal {
    /// Asks; anything but a yes is a no.
    async fn ask(&self, facts: &Facts<'_>) -> Result<(), String> {
        let _turn = self.0.lock().await;
        let question = format!(
            "\r\niotstream: accept the stream '{}' to {}? [y/N] ",
            escape(facts.stream),
            escape(&facts.target)
        );
        let answer = terminal::ask(&question)
            .await
            .map_err(|error| format!("there is no terminal to ask on: {error}"))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err("declined at the terminal".into()),
        }
    }
}

/// Runs a program that decides. It gets the facts in its environment, and as JSON on stdin.
async fn run(words: &[String], facts: &Facts<'_>, limit: Duration) -> Result<(), String> {
    let [program, arguments @ ..] = words else { return Err("the approve command is empty".into()) };
    let failed = |error: std::io::Error| format!("approve command {program}: {error}");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(facts.environment());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    // Processes that the program starts end with it.
    Group::create(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    let mut unfinished = KillOnDrop(Group::of(&child));
    let _stderr = child.stderr.take().map(|stderr| StderrLog::start(program, facts.stream, stderr));
    let deciding = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that uses its environment need not read stdin.
            let _ = stdin.write_all(format!("{}\n", facts.json()).as_bytes()).await;
        }
        child.wait().await
    };
    let decided = timeout(limit, deciding).await;
    if decided.is_ok() {
        unfinished.0 = None;
    }
    match decided {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("approve command {program}: {status}")),
        Ok(Err(error)) => Err(failed(error)),
        Err(_elapsed) => {
            drop(unfinished);
            // It may have ended just now.
            let _ = child.wait().await;
            Err(format!(
                "approve command {program}: killed after {} without a decision",
                duration::show(limit)
            ))
        }
    }
}

/// Kills the processes of a program that has not ended when it is dropped.
struct KillOnDrop(Option<Group>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.kill();
        }
    }
}
