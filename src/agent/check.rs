//! Looks at everything an agent needs, one thing after the other, and says what to do about what is wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::approval::Approve;
use super::audit;
use super::config::Config;
use super::environment::{Facts, PATH};
use super::install::LOGS;
use super::target::{Address, Target};
use crate::backend::iothub::listener::link;
use crate::check::{Finding, Outcome};
use crate::error::{Error, Result};
use crate::net::Network;
use crate::platform::child::is_executable;
use crate::platform::private_file::log_exposures;
use crate::time::phase::{Phase, Phases};

/// Checks the configuration that was read from `place`, and all it speaks of. A running agent of the same device is
/// put out of service for a moment, for the hub lets in one of each.
pub async fn check(place: &str, read: Result<(Config, Network)>) -> Vec<Finding> {
    let since = Instant::now();
    let (config, network) = match read {
        Ok(read) => read,
        Err(error) => {
            let what = if matches!(error, Error::Permissions(_)) { "permissions" } else { "configuration" };
            let mut findings = vec![Finding::new(what, since, Err(error))];
            findings.extend(["dns", "tcp", "tls", "clock", "credential", "targets"].map(Finding::skipped));
            return findings;
        }
    };
    let targets = config.targets.len();
    let mut findings = vec![Finding::new("configuration", since, Ok(format!("{place}: {targets} targets")))];
    let log = config.audit_log.as_deref().filter(|path| *path != Path::new("-"));
    let log = log.map(log_exposures).unwrap_or_default();
    for exposure in config.warnings().iter().chain(&log) {
        findings.push(Finding::new("permissions", since, Err(Error::Permissions(exposure.clone()))));
    }
    let reached = reach(&config, &network, &mut findings).await;
    if reached {
        let since = Instant::now();
        let outcome = match link::clock(&config, &network).await {
            Ok(hub) => crate::backend::iothub::clock::clock(SystemTime::now(), hub),
            Err(error) => Err(error).into(),
        };
        findings.push(Finding { what: "clock".into(), outcome, took: since.elapsed() });
        let since = Instant::now();
        findings.push(Finding::new("credential", since, log_in(config.clone(), network).await));
    } else {
        findings.extend(["clock", "credential"].map(Finding::skipped));
    }
    if let Some(path) = &config.audit_log {
        let since = Instant::now();
        findings.push(Finding { what: "audit-log".into(), outcome: audit_log(path), took: since.elapsed() });
    }
    for target in &config.targets {
        let since = Instant::now();
        findings.push(Finding::new(
            format!("target {}", target.stream),
            since,
            reachable(target, &config).await,
        ));
    }
    findings
}

/// Whether the hub can be reached: each phase is a finding.
async fn reach(config: &Config, network: &Network, findings: &mut Vec<Finding>) -> bool {
    let mut phases = Phases::default();
    let since = Instant::now();
    let connected = network.connect(&link::https(config), &mut phases).await;
    for timing in phases.iter() {
        let outcome = Outcome::Pass(timing.target.clone());
        findings.push(Finding { what: timing.phase.to_string(), outcome, took: timing.took });
    }
    let Err(error) = connected else { return true };
    let phase = error.phase().unwrap_or(Phase::TLS);
    findings.push(Finding::new(phase.name(), since, Err(error)));
    let later =
        [Phase::DNS, Phase::TCP, Phase::TLS].into_iter().skip_while(|earlier| *earlier != phase).skip(1);
    findings.extend(later.map(|phase| Finding::skipped(phase.name())));
    false
}

async fn log_in(config: Config, network: Network) -> Result<String> {
    let config = Arc::new(config);
    let pass = config.credential.pass(SystemTime::now(), config.token_life)?;
    let link = link::dial(config.clone(), network.clone()).await?;
    link::log_in(link, pass.password.as_ref(), &config, &network).await?.end().await;
    Ok(format!("{} takes {}", config.hub(), config.identity()))
}

fn audit_log(path: &Path) -> Outcome {
    let logs = Path::new(LOGS);
    if path.parent() == Some(logs) && !logs.exists() {
        return Outcome::Warn(
            format!("there is no {LOGS} yet"),
            "the unit that `iotstream agent --install` prints makes it".into(),
        );
    }
    audit::check(path).into()
}

async fn reachable(target: &Target, config: &Config) -> Result<String> {
    let unreachable = |problem: String| Error::Target { target: target.address.to_string(), problem };
    if let Approve::Command(words) = &target.approve {
        executable(words).map_err(|problem| unreachable(format!("its approve command: {problem}")))?;
    }
    match &target.address {
        Address::Command(words) => executable(words).map_err(unreachable)?,
        address => {
            let facts = Facts {
                id: 0,
                stream: &target.stream,
                target: address.to_string(),
                identity: config.identity(),
                hub: config.hub(),
                pass_environment: &target.pass_environment,
            };
            drop(address.connect(&facts).await.map_err(unreachable)?);
        }
    }
    Ok(format!("{}, approve {}", target.address, target.approve.name()))
}

/// Whether there is such a program, by its path or in PATH.
fn executable(words: &[String]) -> std::result::Result<(), String> {
    let program = words.first().map_or("", String::as_str);
    let found = if program.contains('/') {
        is_executable(Path::new(program))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program)))
    };
    if found { Ok(()) } else { Err(format!("{program} is no program here")) }
}
