//! Diagnoses an agent: its configuration, its connection to the service and each target.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::approval::Approve;
use super::audit;
use super::config::Config;
use super::control::{MODE, Reply, Request, ask};
use super::host_keys;
use super::install::LOGS;
use super::metrics::Destination;
use super::target::{Address, Facts, Target};
use crate::backend::Listener;
use crate::check::{Finding, Outcome};
use crate::error::{Error, Exit, Problem, Result};
use crate::net::Network;
use crate::platform::child::is_executable;
use crate::platform::environment::PATH;
use crate::platform::local_socket::LocalListener;
use crate::platform::private_file::log_exposures;

/// Checks the configuration from `origin` and everything it names. May briefly disconnect a running agent of the device.
pub async fn check(origin: &str, read: Result<(Config, Network)>) -> Vec<Finding> {
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
    let mut findings = vec![Finding::new("configuration", since, Ok(format!("{origin}: {targets} targets")))];
    let log = config.audit_log.as_deref().filter(|path| *path != Path::new("-"));
    let log = log.map(log_exposures).unwrap_or_default();
    for exposure in config.warnings().iter().chain(&log) {
        findings.push(Finding::new("permissions", since, Err(Error::Permissions(exposure.clone()))));
    }
    for listener in &config.listeners {
        let mut found = listener.check(&network).await;
        if config.listeners.len() > 1 {
            for finding in &mut found {
                finding.what = format!("{} {}", listener.service(), finding.what);
            }
        }
        findings.extend(found);
    }
    if let Some(path) = &config.audit_log {
        let since = Instant::now();
        findings.push(Finding { what: "audit-log".into(), outcome: audit_log(path), took: since.elapsed() });
    }
    let mut is_running = false;
    if let Some(path) = &config.control {
        let since = Instant::now();
        let outcome;
        (outcome, is_running) = control(path, &config).await;
        findings.push(Finding { what: "control".into(), outcome, took: since.elapsed() });
    }
    if let Some(destination) = &config.metrics {
        let since = Instant::now();
        let outcome = metrics(destination, is_running).await;
        findings.push(Finding { what: "metrics".into(), outcome, took: since.elapsed() });
    }
    for target in &config.targets {
        let since = Instant::now();
        findings.push(Finding::new(format!("target {}", target.name()), since, reachable(target).await));
    }
    findings.extend(host_keys::check(&config).await);
    findings
}

fn audit_log(path: &Path) -> Outcome {
    let logs = Path::new(LOGS);
    if path.parent() == Some(logs) && !logs.exists() {
        return Outcome::Warn(
            format!("there is no {LOGS} yet"),
            "the unit that `iotstream agent --install` prints creates it".into(),
        );
    }
    audit::check(path).into()
}

/// Whether the agent can open its control socket, and whether it runs and has opened it.
async fn control(path: &Path, config: &Config) -> (Outcome, bool) {
    let shown = path.display();
    let directory = path.parent().unwrap_or(Path::new(""));
    if !directory.exists() {
        let hint = "the unit that `iotstream agent --install` prints creates it";
        return (Outcome::Warn(format!("there is no {} yet", directory.display()), hint.into()), false);
    }
    let in_use = |problem: String| {
        let hint = "set another path with control, or stop what listens there";
        Outcome::Fail(format!("{shown}: {problem}"), Some(hint.into()), Exit::LocalIo)
    };
    let outcome = match ask(path, &Request::Status).await {
        Ok(Reply::Status(status)) => {
            let ours = |listener: &Arc<dyn Listener>| {
                let (device, hub) = (listener.device(), listener.service());
                status.services.iter().any(|service| service.device == device && service.hub == hub)
            };
            if config.listeners.iter().all(ours) {
                let found = format!("{shown}: process {}, the agent of this device, has it", status.pid);
                return (Outcome::Pass(found), true);
            } else {
                in_use(format!("process {}, the agent of another device, has it", status.pid))
            }
        }
        Err(Error::NoAgent { .. }) => match LocalListener::claim(path, MODE).await {
            Ok(_) => Outcome::Pass(shown.to_string()),
            Err(error) => in_use(error.to_string()),
        },
        Err(error @ Error::ControlDenied { .. }) => Err::<String, _>(error).into(),
        Ok(_) | Err(_) => in_use("another program listens there".into()),
    };
    (outcome, false)
}

/// Whether the agent can offer its figures. One that `is_running` has opened the address or the socket.
async fn metrics(destination: &Destination, is_running: bool) -> Outcome {
    match destination.probe().await {
        Ok(()) => Outcome::Pass(destination.to_string()),
        Err(error) if is_running && error.kind() == ErrorKind::AddrInUse => {
            Outcome::Pass(format!("{destination}: in use, while the agent runs"))
        }
        Err(error) => Outcome::Fail(
            format!("{destination}: {error}"),
            Some("set another address or path with metrics".into()),
            Exit::LocalIo,
        ),
    }
}

async fn reachable(target: &Target) -> Result<String> {
    let unreachable = |problem: Problem| Error::Target { target: target.address.to_string(), problem };
    if let Approve::Command { words, .. } = &target.approve {
        executable(words).map_err(|problem| unreachable(format!("its approve command: {problem}").into()))?;
    }
    let reached = match &target.address {
        Address::Command(words) => {
            executable(words).map_err(|problem| unreachable(problem.into()))?;
            target.address.to_string()
        }
        address if address.has_port_of_stream() => format!("{address}, not tried"),
        address => {
            let facts = Facts::without_offer(&target.stream, address.to_string());
            address.connect(&facts).await.map_err(unreachable)?.target
        }
    };
    Ok(format!("{reached}, approve {}", target.approve.name()))
}

/// Whether the program exists, by its path or in PATH.
fn executable(words: &[String]) -> std::result::Result<(), String> {
    let program = words.first().map_or("", String::as_str);
    let found = if Path::new(program).components().count() > 1 {
        is_executable(Path::new(program))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program)))
    };
    if found { Ok(()) } else { Err(format!("there is no program {program}")) }
}
