//! Whether a target's streams are approved: always, never, by a person, or by a program.

mod approver;
mod command;
mod registry;
mod terminal;

use std::time::Duration;

use tokio::time::timeout;

pub(super) use self::approver::Approval;
pub(super) use self::registry::Approvals;
use super::target::Facts;
use crate::error::escape;
use crate::text::duration;

/// How a target's streams are approved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Approve {
    #[default]
    Always,
    Never,
    /// A person, at the terminal or with `agent approve`.
    Ask {
        /// How long an approval lets in later streams of the same name.
        window: Option<Duration>,
    },
    /// A program: exit status 0 approves.
    Command {
        words: Vec<String>,
        /// How long an approval lets in later streams of the same name.
        window: Option<Duration>,
    },
}

impl Approve {
    /// The name in the configuration and in the audit log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Approve::Always => "always",
            Approve::Never => "never",
            Approve::Ask { .. } => "ask",
            Approve::Command { .. } => "command",
        }
    }

    fn window(&self) -> Option<Duration> {
        match self {
            Approve::Always | Approve::Never => None,
            Approve::Ask { window } | Approve::Command { window, .. } => *window,
        }
    }

    /// Decides within `limit`.
    ///
    /// # Errors
    /// Why the stream is not approved.
    pub(super) async fn decide(
        &self,
        facts: &Facts<'_>,
        approvals: &Approvals,
        limit: Duration,
    ) -> Result<Approval, String> {
        let asking = async {
            match self {
                Approve::Always => Ok(Approval::configured()),
                Approve::Never => Err("the configuration says approve = \"never\"".into()),
                Approve::Ask { .. } => timeout(limit, ask(facts, approvals, limit))
                    .await
                    .unwrap_or_else(|_| Err(format!("nobody answered within {}", duration::show(limit)))),
                Approve::Command { words, .. } => by_command(words, facts, limit).await,
            }
        };
        if matches!(self, Approve::Always | Approve::Never) {
            return asking.await;
        }
        if let Some(approval) = approvals.in_window(facts.stream) {
            return Ok(approval);
        }
        let mut request = approvals.request(facts, self.name(), self.window(), limit);
        tokio::select! {
            biased;
            approval = request.approved() => Ok(approval),
            asked = asking => {
                drop(request);
                let approval = asked?;
                if let Some(window) = self.window() {
                    let opened = approvals.approve(facts.stream, &facts.target, Some(window), &approval);
                    if let Err(problem) = opened {
                        log::warn!("stream '{}': {problem}", escape(facts.stream));
                    }
                }
                Ok(approval)
            }
        }
    }
}

/// Asks at the terminal; where there is none, waits for `agent approve`.
async fn ask(facts: &Facts<'_>, approvals: &Approvals, limit: Duration) -> Result<Approval, String> {
    let stream = escape(facts.stream);
    if approvals.takes_control() {
        let word = shlex::try_quote(facts.stream).map_or_else(|_| stream.clone(), |word| escape(&word));
        log::warn!(
            "stream '{stream}': waits {} for approval: iotstream agent approve {word}",
            duration::show(limit)
        );
    }
    match approvals.terminal.ask(facts).await {
        Ok(true) => Ok(Approval::at_the_terminal()),
        Ok(false) => Err("declined at the terminal".into()),
        Err(_) if approvals.takes_control() => std::future::pending().await,
        Err(error) => Err(format!("there is no terminal to ask on: {error}; and no control socket")),
    }
}

async fn by_command(words: &[String], facts: &Facts<'_>, limit: Duration) -> Result<Approval, String> {
    command::run(words, facts, limit).await.map(|()| Approval::by_command()).inspect_err(|_| {
        log::warn!(
            "hint: an approve command gets few of the agent's environment variables: the target's pass-environment \
             names those it needs as well, such as HTTPS_PROXY"
        );
    })
}
