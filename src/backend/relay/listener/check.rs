//! Diagnoses a device's connection to its namespace.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use tokio::time::timeout;

use super::error::Error as RelayError;
use super::relay_listener::RelayListener;
use crate::backend::relay::phase::RELAY;
use crate::backend::request::bug;
use crate::backend::skew::Skew;
use crate::check::{Finding, Outcome, skip_rest};
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Stream, exchange};
use crate::time::phase::{Phase, Phases};

/// The limits of the answer that tells the time: its time, and its length in bytes.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const TIME_LENGTH: usize = 64 * 1024;

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
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            let phase = error.phase().unwrap_or(Phase::TLS);
            findings.push(Finding::new(phase.name(), since, Err(error)));
            skip_rest(&mut findings, &["dns", "tcp", "tls", "clock", "credential"]);
            return findings;
        }
    };
    let since = Instant::now();
    let outcome = match clock(stream, &endpoint).await {
        Ok(Some(time)) => Skew::measured(SystemTime::now(), time)
            .outcome("relay", |skew| RelayError::Skewed { skew }.into()),
        Ok(None) => Outcome::Warn(
            "the relay does not say what time it is".into(),
            "check that the clock here is right to the minute: tokens depend on it".into(),
        ),
        Err(error) => Err(error).into(),
    };
    findings.push(Finding { what: "clock".into(), outcome, took: since.elapsed() });
    let since = Instant::now();
    findings.push(Finding::new("credential", since, credential(device).await));
    findings
}

/// The service's time from any answer, if it has a date.
async fn clock(stream: Stream, endpoint: &Endpoint) -> Result<Option<SystemTime>> {
    let request = hyper::Request::get("/").header(HOST, endpoint.authority()).body(Full::<Bytes>::default());
    let request = request.map_err(bug)?;
    let asking = exchange(stream, RELAY, endpoint, request, TIME_LENGTH);
    let timed_out = |_| Error::timeout(RELAY, endpoint, TIME_LIMIT);
    Ok(timeout(TIME_LIMIT, asking).await.map_err(timed_out)??.date())
}

async fn credential(device: &RelayListener) -> Result<String> {
    device.credential.token(device.token_life).await?;
    let (credential, entity) = (&device.credential, &device.credential.entity);
    Ok(format!(
        "{} for '{entity}'; not tried, because a listener would take users' streams",
        credential.describe()
    ))
}
