//! Diagnoses a device's connection to its hub, and its login.

use std::time::{Duration, Instant, SystemTime};

use super::clock::clock;
use super::credential_source::Doubt;
use super::dial::dial;
use super::hub_listener::{Device, HubListener};
use super::login::{is_doubtful, log_in};
use crate::backend::expiry;
use crate::backend::iothub::clock::clock as compare;
use crate::check::{Finding, skip_rest};
use crate::error::Result;
use crate::net::Network;
use crate::time::phase::{Phase, Phases};

const STEPS: &[&str] = &["dns", "tcp", "tls", "clock", "credential"];

/// Checks each step up to the login. This briefly disconnects a running agent, because a hub accepts one hub connection of
/// each device.
pub(super) async fn check(listener: &HubListener, network: &Network) -> Vec<Finding> {
    let mut findings = Vec::new();
    let since = Instant::now();
    let obtained = listener.source.obtain(network, Doubt::None).await;
    let device = match (listener.source.step(), obtained) {
        (None, Ok(credential)) => listener.device(credential),
        (Some(step), Ok(credential)) => {
            findings.push(Finding::new(step, since, Ok(listener.source.found(&credential))));
            listener.device(credential)
        }
        (step, Err(error)) => {
            findings.push(Finding::new(step.unwrap_or("credential"), since, Err(error)));
            skip_rest(&mut findings, STEPS);
            return findings;
        }
    };
    findings.extend(certificate(&device));
    let mut phases = Phases::default();
    let since = Instant::now();
    let connected = network.connect(&device.https(), &mut phases).await;
    findings.extend(phases.iter().map(Finding::from));
    if let Err(error) = connected {
        let phase = error.phase().unwrap_or(Phase::TLS);
        findings.push(Finding::new(phase.name(), since, Err(error)));
        skip_rest(&mut findings, STEPS);
        return findings;
    }
    let since = Instant::now();
    let outcome = match clock(&device, network).await {
        Ok(hub) => compare(SystemTime::now(), hub),
        Err(error) => Err(error).into(),
    };
    findings.push(Finding { what: "clock".into(), outcome, took: since.elapsed() });
    let mut since = Instant::now();
    let mut accepted = credential(&device, network).await;
    if let Some((found, next)) = again(listener, network, &device, &accepted).await {
        findings.push(found);
        since = Instant::now();
        accepted = credential(&next, network).await;
    }
    if accepted.is_ok() {
        listener.source.accepted();
    }
    findings.push(Finding::new("credential", since, accepted));
    findings
}

/// Asks the source once more after a refusal, as the agent does. Returns the finding and the device, unless the source has
/// nothing new.
async fn again(
    listener: &HubListener,
    network: &Network,
    device: &Device,
    accepted: &Result<String>,
) -> Option<(Finding, Device)> {
    let error = accepted.as_ref().err().filter(|error| is_doubtful(error))?;
    let (step, since) = (listener.source.step()?, Instant::now());
    let before = listener.source.found(&device.credential);
    let credential = listener.source.obtain(network, Doubt::Refused).await.ok()?;
    let found = listener.source.found(&credential);
    if found == before {
        return None;
    }
    let finding = Finding::new(step, since, Ok(format!("{found}, because {error}")));
    Some((finding, listener.device(credential)))
}

/// The finding of the device's certificate, if it has one.
fn certificate(device: &Device) -> Option<Finding> {
    let validity = device.credential.certificate()?.validity();
    let outcome = expiry::outcome(&validity, SystemTime::now());
    Some(Finding { what: "certificate".into(), outcome, took: Duration::ZERO })
}

async fn credential(device: &Device, network: &Network) -> Result<String> {
    let token = device.credential.login_token(SystemTime::now(), device.settings.token_life).await?;
    let io = dial(device, network).await?;
    log_in(io, token.as_ref(), device, network).await?.end().await;
    Ok(format!("{} accepts {}", device.credential.hub, device.credential.identity))
}
