//! Diagnoses a device's connection to its hub, and its login.

use std::time::{Instant, SystemTime};

use super::clock::clock;
use super::dial::dial;
use super::hub_listener::HubListener;
use super::login::log_in;
use crate::backend::iothub::clock::clock as compare;
use crate::check::{Finding, Outcome};
use crate::error::Result;
use crate::net::Network;
use crate::time::phase::{Phase, Phases};

/// Checks each step up to the login. This briefly disconnects a running agent, because a hub accepts one hub connection of
/// each device.
pub(super) async fn check(device: &HubListener, network: &Network) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !reach(device, network, &mut findings).await {
        findings.extend(["clock", "credential"].map(Finding::skipped));
        return findings;
    }
    let since = Instant::now();
    let outcome = match clock(device, network).await {
        Ok(hub) => compare(SystemTime::now(), hub),
        Err(error) => Err(error).into(),
    };
    findings.push(Finding { what: "clock".into(), outcome, took: since.elapsed() });
    let since = Instant::now();
    findings.push(Finding::new("credential", since, credential(device, network).await));
    findings
}

/// Whether the hub can be reached. Adds a finding for each phase.
async fn reach(device: &HubListener, network: &Network, findings: &mut Vec<Finding>) -> bool {
    let mut phases = Phases::default();
    let since = Instant::now();
    let connected = network.connect(&device.https(), &mut phases).await;
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

async fn credential(device: &HubListener, network: &Network) -> Result<String> {
    let token = device.credential.login_token(SystemTime::now(), device.token_life)?;
    let io = dial(device, network).await?;
    log_in(io, token.as_ref(), device, network).await?.end().await;
    Ok(format!("{} accepts {}", device.credential.hub, device.credential.identity))
}
