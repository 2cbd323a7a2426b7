//! Diagnoses a device's connection to its hub, and its login.

use std::time::{Duration, Instant, SystemTime};

use super::clock::clock;
use super::dial::dial;
use super::hub_listener::HubListener;
use super::login::log_in;
use crate::backend::expiry;
use crate::backend::iothub::clock::clock as compare;
use crate::check::{Finding, skip_rest};
use crate::error::Result;
use crate::net::Network;
use crate::time::phase::{Phase, Phases};

/// Checks each step up to the login. This briefly disconnects a running agent, because a hub accepts one hub connection of
/// each device.
pub(super) async fn check(device: &HubListener, network: &Network) -> Vec<Finding> {
    let mut findings: Vec<Finding> = certificate(device).into_iter().collect();
    let mut phases = Phases::default();
    let since = Instant::now();
    let connected = network.connect(&device.https(), &mut phases).await;
    findings.extend(phases.iter().map(Finding::from));
    if let Err(error) = connected {
        let phase = error.phase().unwrap_or(Phase::TLS);
        findings.push(Finding::new(phase.name(), since, Err(error)));
        skip_rest(&mut findings, &["dns", "tcp", "tls", "clock", "credential"]);
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

/// The finding of the device's certificate, if it has one.
fn certificate(device: &HubListener) -> Option<Finding> {
    let validity = device.credential.certificate()?.validity();
    let outcome = expiry::outcome(&validity, SystemTime::now());
    Some(Finding { what: "certificate".into(), outcome, took: Duration::ZERO })
}

async fn credential(device: &HubListener, network: &Network) -> Result<String> {
    let token = device.credential.login_token(SystemTime::now(), device.token_life)?;
    let io = dial(device, network).await?;
    log_in(io, token.as_ref(), device, network).await?.end().await;
    Ok(format!("{} accepts {}", device.credential.hub, device.credential.identity))
}
