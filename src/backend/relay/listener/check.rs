//! Diagnoses a device's connection to its namespace.

use std::time::Instant;

use super::relay_listener::RelayListener;
use crate::check::{Finding, skip_rest};
use crate::error::Result;
use crate::net::Network;
use crate::time::phase::{Phase, Phases};

/// Checks each step up to the token. It does not open a control channel: the service would give users' streams to it.
pub(super) async fn check(device: &RelayListener, network: &Network) -> Vec<Finding> {
    let network = match network.preferring_p384() {
        Ok(network) => network,
        Err(error) => return vec![Finding::new("tls", Instant::now(), Err(error))],
    };
    let endpoint = device.credential.namespace.server();
    let mut phases = Phases::default();
    let since = Instant::now();
    let connected = network.connect(&endpoint, &mut phases).await;
    let mut findings: Vec<Finding> = phases.iter().map(Finding::from).collect();
    if let Err(error) = connected {
        let phase = error.phase().unwrap_or(Phase::TLS);
        findings.push(Finding::new(phase.name(), since, Err(error)));
        skip_rest(&mut findings, &["dns", "tcp", "tls", "clock", "credential"]);
        return findings;
    }
    let since = Instant::now();
    findings.push(Finding::new("credential", since, credential(device).await));
    findings
}

async fn credential(device: &RelayListener) -> Result<String> {
    device.credential.token(device.token_life).await?;
    let (credential, entity) = (&device.credential, &device.credential.entity);
    Ok(format!(
        "{} for '{entity}'; not tried, because a listener would take users' streams",
        credential.describe()
    ))
}
