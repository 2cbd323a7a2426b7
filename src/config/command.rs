//! Runs the commands of configuration files: secret stores and token tools.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::CommandLine;
use crate::error::Problem;
use crate::platform::child::{Group, SHELL, shell};
use crate::platform::private_file::LONGEST;
use crate::platform::process;
use crate::secret::Secret;
use crate::text::content::{self, BLANK};
use crate::text::duration;

/// The time limit of a command. A secret store may ask the user for a passphrase or a touch.
const LIMIT: Duration = Duration::from_secs(30);

/// What to do about a command that fails.
pub(super) const FAILED: &str = "run the command in a terminal to see what it does; it gets no stdin here";

/// The characters shown of a failed command's stderr.
const SHOWN: usize = 400;

impl CommandLine {
    /// Runs the command and returns its stdout.
    ///
    /// # Errors
    /// Returns how the command failed and the end of its stderr, and never its stdout.
    pub fn output(&self) -> Result<Secret, Problem> {
        // A separate thread, because the caller may already be inside a runtime.
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime?.block_on(self.run(LIMIT))
        };
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|_| Err("the thread that runs it has panicked".into()))
    }

    /// Runs the command and returns the secret it prints: the first line, because stores such as pass print notes below
    /// it, or all of JSON, as az prints it.
    ///
    /// # Errors
    /// Returns the error of [`Self::output`].
    pub fn secret(&self) -> Result<Secret, Problem> {
        let printed = self.output()?;
        let text = printed.expose();
        if text.starts_with(['{', '[']) {
            return Ok(printed);
        }
        Ok(Secret::new(text.lines().next().unwrap_or_default()))
    }

    async fn run(&self, limit: Duration) -> Result<Secret, Problem> {
        let (program, mut command) = match self {
            Self::Words(words) => {
                let program = words.first().map_or("", String::as_str);
                let mut command = Command::new(program);
                command.args(words.iter().skip(1));
                (program, command)
            }
            Self::Shell(line) => (SHELL, shell(line)),
        };
        for name in process::withheld() {
            command.env_remove(name);
        }
        let unattended = process::unattended_until();
        if unattended.is_some() {
            // A background process cannot read from the terminal, and gpg needs the variable to find it.
            Group::create(&mut command);
            command.env_remove("GPG_TTY");
        }
        let left = unattended.map(|until| until.saturating_duration_since(Instant::now()));
        let limit = left.map_or(limit, |left| left.min(limit));
        // stdin and stdout belong to ssh.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|error| Problem::because(format!("{program} does not start: {error}"), error))?;
        let group = unattended.and_then(|_| Group::of(&child));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let all = async { tokio::join!(read(stdout), read(stderr), child.wait()) };
        let Ok((stdout, stderr, status)) = timeout(limit, all).await else {
            if let Some(group) = group {
                group.kill();
            }
            return Err(format!("{program} has not ended after {}", duration::show(limit)).into());
        };
        let status = status.map_err(|error| Problem::because(format!("{program}: {error}"), error))?;
        if !status.success() && stdout.len() as u64 <= LONGEST {
            let problem = match said(&stderr) {
                said if said.is_empty() => format!("{program} failed ({status}) and printed no error"),
                said => format!("{program} failed ({status}): {said}"),
            };
            return Err(problem.into());
        }
        if stdout.len() as u64 > LONGEST {
            return Err(format!("{program} prints more than {LONGEST} bytes").into());
        }
        let text = content::text(&stdout).map_err(|_| format!("{program} does not print text"))?;
        Ok(Secret::new(text.expose().trim_matches(BLANK)))
    }
}

/// Reads to the end, or one byte beyond the limit.
async fn read(from: Option<impl AsyncRead + Unpin>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(from) = from {
        // The bytes before an error are kept.
        let _ = from.take(LONGEST + 1).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The end of a command's stderr, in one line.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = lines.join("; ");
    match line.char_indices().rev().nth(SHOWN) {
        Some((start, _)) => format!("…{}", &line[start..]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> CommandLine {
        CommandLine::Words(words.iter().map(|&word| word.into()).collect())
    }

    #[test]
    fn words_are_not_passed_to_a_shell() {
        let printed = words(&["printf", "%s\\n", "$HOME;*  'x'"]).output().unwrap();
        assert_eq!(printed.expose(), "$HOME;*  'x'");
        let printed = CommandLine::Shell("printf a | tr a b".into()).output().unwrap();
        assert_eq!(printed.expose(), "b");
    }

    #[test]
    fn errors_contain_stderr_and_never_stdout() {
        let failure = |line: &str| CommandLine::Shell(line.into()).output().unwrap_err().to_string();
        let said = failure("echo hunter2; echo no such >&2; echo entry >&2; exit 3");
        assert_eq!(said, "sh failed (exit status: 3): no such; entry");
        assert!(failure("echo hunter2; exit 1").ends_with("printed no error"));
        assert!(failure("printf 'hunter2\\377'") == "sh does not print text");
        assert_eq!(failure("cat /dev/zero"), "sh prints more than 1048576 bytes");
        let absent = words(&["/nonexistent/pass"]).output().unwrap_err().to_string();
        assert!(absent.starts_with("/nonexistent/pass does not start: "), "{absent}");
        assert_eq!(super::said("ä".repeat(500).as_bytes()).chars().count(), SHOWN + 2);
    }

    #[tokio::test]
    async fn a_hanging_command_times_out() {
        let hang = words(&["sleep", "600"]);
        let failure = hang.run(Duration::from_millis(50)).await.unwrap_err().to_string();
        assert_eq!(failure, "sleep has not ended after 50ms");
    }

    #[test]
    fn runs_inside_a_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let printed = runtime.block_on(async { words(&["echo", "x"]).output() });
        assert_eq!(printed.unwrap().expose(), "x");
    }
}
