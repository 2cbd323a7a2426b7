//! The host keys of targets: which targets are asked, when, and what is reported to the services.

mod ask;
mod public_files;
mod reporter;
pub(super) mod selection;
mod sshd_config;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::reporter::{Real, Reporter};
use super::config::Config;
use crate::backend::Report;
use crate::check::{Finding, Outcome};

/// The task that asks the targets. Dropping it ends the task.
pub(super) struct HostKeyReports {
    configs: watch::Sender<Arc<Config>>,
    reports: watch::Receiver<Arc<Report>>,
    _task: JoinSet<()>,
}

impl HostKeyReports {
    /// Starts the task. Must be called within a runtime.
    pub(super) fn start(config: Arc<Config>) -> Self {
        let (configs, taken) = watch::channel(config);
        let (report, reports) = watch::channel(Arc::default());
        let mut task = JoinSet::new();
        task.spawn(Reporter::new(Real, taken, report).run());
        Self { configs, reports, _task: task }
    }

    /// Waits for the next report. Never resolves after the task's end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Arc<Report> {
        match self.reports.changed().await {
            Ok(()) => self.reports.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Uses another configuration.
    pub(super) fn reload(&self, config: Arc<Config>) {
        self.configs.send_replace(config);
    }
}

/// The hint of a check that finds host keys missing.
const NOT_REPORTED: &str = "host-keys in `man iotstream-agent.toml` says which host keys an agent can know";

/// Asks each target once.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let several = config.host_key_targets().count() > 1;
    for target in config.host_key_targets() {
        let (since, stream) = (Instant::now(), &target.stream);
        let outcome = match ask::ask(&target.address).await {
            Ok(found) if found.missing.is_empty() => {
                Outcome::Pass(format!("{stream}: {}", found.fingerprints()))
            }
            Ok(found) => {
                let missing = found.missing.join("; ");
                let told = if found.keys.is_empty() {
                    missing
                } else {
                    format!("{}; {missing}", found.fingerprints())
                };
                Outcome::Warn(format!("{stream}: {told}"), NOT_REPORTED.into())
            }
            Err(problem) => Outcome::Warn(format!("{stream}: {problem}"), NOT_REPORTED.into()),
        };
        let what = if several { format!("host-keys {stream}") } else { "host-keys".into() };
        findings.push(Finding { what, outcome, took: since.elapsed() });
    }
    findings
}
