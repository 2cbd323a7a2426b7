//! A program that approves a stream.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::agent::target::{Facts, StderrLog};
use crate::platform::child::Group;
use crate::text::duration;

/// Runs a program that decides. It gets the facts in its environment, and as JSON on stdin.
pub(super) async fn run(words: &[String], facts: &Facts<'_>, limit: Duration) -> Result<(), String> {
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
