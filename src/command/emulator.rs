//! `iotstream emulator`: runs the emulator until it is told to end.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::net::TcpListener;

use crate::cli;
use crate::emulator::{Emulator, Faults, Options, ProvisioningOptions, Quota, Thumbprint};
use crate::error::{Error, Result};
use crate::platform::signals;

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// An option is invalid, a port cannot be bound, or the directory cannot be used.
pub(super) fn run(args: &cli::Emulator) -> Result<ExitCode> {
    let options = Options {
        dir: args.dir.clone(),
        devices: args.devices.clone(),
        x509_devices: x509_devices("--x509-device", &args.x509_devices)?,
        provisioning: provisioning(args)?,
        relay_entities: args.relay_entities.clone(),
        relay_anonymous: args.relay_anonymous.clone(),
        hostnames: args.hostnames.clone(),
        quota: args.quota.as_deref().map(quota).transpose()?,
        faults: faults(args.inject.as_deref().unwrap_or_default())?,
    };
    super::runtime()?.block_on(async {
        let (https, mqtts) = (bind(args.listen).await?, bind(args.mqtt_listen).await?);
        // Before the ready line: its reader may end the emulator at once.
        let stop = signals::stop()?;
        let emulator = Emulator::open(https, mqtts, options)?;
        let ready = format!("ready https={} mqtts={}\n", emulator.https_address(), emulator.mqtts_address());
        let mut stdout = std::io::stdout();
        stdout
            .write_all(ready.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(Error::local_io("stdout"))?;
        emulator.run(stop).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(Error::local_io(format!("listening on {address}")))
}

fn provisioning(args: &cli::Emulator) -> Result<Option<ProvisioningOptions>> {
    let Some(scope) = args.dps_scope.clone() else { return Ok(None) };
    Ok(Some(ProvisioningOptions {
        scope,
        authorities: args.dps_ca.clone(),
        devices: args.dps_devices.clone(),
        x509_devices: x509_devices("--dps-x509-device", &args.dps_x509_devices)?,
    }))
}

/// Reads the values of an option, `ID=THUMBPRINT` each; an id may contain a `=`.
fn x509_devices(option: &str, values: &[String]) -> Result<Vec<(String, Thumbprint)>> {
    let devices = values.iter().map(|text| {
        let wrong = || {
            Error::usage(
                format!("{option} '{text}' is not ID=THUMBPRINT"),
                "the thumbprint is a certificate's SHA-256: openssl x509 -in CERT -noout -fingerprint -sha256",
            )
        };
        let (id, thumbprint) = text.rsplit_once('=').ok_or_else(wrong)?;
        Ok((id.to_owned(), Thumbprint::parse(thumbprint).ok_or_else(wrong)?))
    });
    devices.collect()
}

fn quota(text: &str) -> Result<Quota> {
    Quota::parse(text).map_err(|problem| {
        Error::usage(format!("--quota: {problem}"), "write streams a second and streams at a time: 5/s,50")
    })
}

fn faults(text: &str) -> Result<Faults> {
    Faults::parse(text).map_err(|problem| {
        Error::usage(format!("--inject: {problem}"), "separate several faults with commas")
    })
}
