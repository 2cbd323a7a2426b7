//! The listeners of a configuration: one for each service that it has a credential for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::schema::{Document, RelayTable};
use crate::backend::{self, DeviceSettings, Listener, RelayAccess, RelaySettings};
use crate::config::{Keys, Owner, Source, systemd_credential};
use crate::error::{Error, Exposure, Result};
use crate::secret::Secret;

/// The names of the systemd credentials with the connection strings.
const CONNECTION_STRING: &str = "connection-string";
const RELAY_CONNECTION_STRING: &str = "relay-connection-string";

/// A connection string, and where it comes from.
struct Found {
    source: String,
    text: Secret,
}

/// The listener of a connection string of any service. Errors name the connection string by `source`.
///
/// # Errors
/// Returns an error if the connection string is invalid.
pub(super) fn listener(
    source: impl Into<String>,
    text: Secret,
    warnings: &mut Vec<Exposure>,
) -> Result<Arc<dyn Listener>> {
    if backend::is_relay(&text) {
        return backend::relay_listener(&RelaySettings::new(source, RelayAccess::ConnectionString(text)));
    }
    backend::listener(&DeviceSettings::new(source, text), warnings)
}

/// The listeners of the configuration file at `path`. Tolerated exposures of the files that it names are added to
/// `warnings`.
///
/// # Errors
/// Returns an error if a credential is missing, superfluous or invalid, or a key is for a service without a credential.
pub(super) fn listeners(
    document: &Document,
    path: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<Vec<Arc<dyn Listener>>> {
    let none = RelayTable::default();
    let table = document.relay.as_ref().unwrap_or(&none);
    let relay = relay_access(table, path, warnings)?;
    let (hub, relay) = match (top_level(document, path, relay.is_some(), warnings)?, relay) {
        (Some(top), None) if backend::is_relay(&top.text) => {
            (None, Some((top.source, RelayAccess::ConnectionString(top.text))))
        }
        (Some(top), Some((source, _))) if backend::is_relay(&top.text) => {
            let problem = format!("it has two credentials for Azure Relay: {} and {source}", top.source);
            return Err(Error::file(path, problem, "keep one of them"));
        }
        (Some(top), Some((source, RelayAccess::ConnectionString(text)))) if is_hub(&text) => {
            let problem = format!("it has two credentials for IoT Hub: {} and {source}", top.source);
            return Err(Error::file(path, problem, "[relay] takes a connection string of Azure Relay"));
        }
        (None, Some((source, RelayAccess::ConnectionString(text)))) if is_hub(&text) => {
            let problem = format!("{source} is a connection string of IoT Hub, and not of Azure Relay");
            return Err(Error::file(path, problem, "put it at the top level, outside of [relay]"));
        }
        both => both,
    };
    check_keys(document, path, hub.is_some(), relay.is_some())?;
    let mut listeners = Vec::new();
    if let Some(Found { source, text }) = hub {
        listeners.push(backend::listener(&device_settings(document, path, source, text), warnings)?);
    }
    if let Some((source, access)) = relay {
        listeners.push(backend::relay_listener(&relay_settings(document, table, source, access))?);
    }
    Ok(listeners)
}

/// The connection string at the top level, which may be missing if there is another credential.
fn top_level(
    document: &Document,
    path: &Path,
    may_be_missing: bool,
    warnings: &mut Vec<Exposure>,
) -> Result<Option<Found>> {
    // A systemd credential replaces a file that the service's user may not be able to read.
    let systemd = systemd_credential(CONNECTION_STRING).map(|_| CONNECTION_STRING);
    let keys = Keys {
        connection_string: document.connection_string.as_ref().map(|text| &text.0),
        connection_string_file: document.connection_string_file.as_deref().filter(|_| systemd.is_none()),
        connection_string_env: document.connection_string_env.as_deref(),
        connection_string_command: document.connection_string_command.as_ref(),
        connection_string_credential: systemd,
        ..Keys::default()
    };
    if may_be_missing && keys.is_empty() {
        return Ok(None);
    }
    let owner = Owner::Agent(path);
    let source = Source::of(owner, keys, directory(path))?;
    let text = source.read_leniently(owner, warnings)?;
    Ok(Some(Found { source: source.describe(owner), text }))
}

/// The credential of `[relay]`, if it has one, and its source.
fn relay_access(
    table: &RelayTable,
    path: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<Option<(String, RelayAccess)>> {
    let systemd = systemd_credential(RELAY_CONNECTION_STRING).map(|_| RELAY_CONNECTION_STRING);
    let keys = Keys {
        connection_string: table.connection_string.as_ref().map(|text| &text.0),
        connection_string_file: table.connection_string_file.as_deref().filter(|_| systemd.is_none()),
        connection_string_env: table.connection_string_env.as_deref(),
        connection_string_command: table.connection_string_command.as_ref(),
        connection_string_credential: systemd,
        services: [("relay", table.relay.as_deref()), ("", None), ("", None)],
        token_command: table.token_command.as_ref(),
        is_managed: false,
    };
    if keys.is_empty() {
        return Ok(None);
    }
    let owner = Owner::AgentRelay(path);
    let source = Source::of(owner, keys, directory(path))?;
    let access = match &source {
        Source::Token { service, command, .. } => RelayAccess::Tokens {
            namespace: (*service).to_owned(),
            suffix: table.relay_suffix.clone(),
            command: (*command).clone(),
        },
        source => RelayAccess::ConnectionString(source.read_leniently(owner, warnings)?),
    };
    Ok(Some((source.describe(owner), access)))
}

/// Whether the text is a connection string of IoT Hub.
fn is_hub(text: &Secret) -> bool {
    !backend::is_relay(text) && text.expose().to_ascii_lowercase().contains("hostname=")
}

/// Checks that each key is for a service with a credential, and is set once.
fn check_keys(document: &Document, path: &Path, has_hub: bool, has_relay: bool) -> Result<()> {
    let set = |keys: &[(&'static str, bool)]| keys.iter().find(|(_, set)| *set).map(|(key, _)| *key);
    let of_hub = set(&[
        ("certificate", document.certificate.is_some()),
        ("private-key", document.private_key.is_some()),
        ("transport", document.transport.is_some()),
        ("mqtt-port", document.mqtt_port.is_some()),
    ]);
    if let (Some(key), false) = (of_hub, has_hub) {
        let problem = format!("{key} is for IoT Hub, and the only credential is for Azure Relay");
        return Err(Error::file(path, problem, "remove it"));
    }
    let of_relay = [
        ("device", document.device.is_some()),
        ("shared", document.shared.is_some()),
        ("rendezvous-hosts", document.rendezvous_hosts.is_some()),
    ];
    if let (Some(key), true) = (set(&of_relay), has_hub) {
        let problem = format!("{key} is for Azure Relay, and the credential at the top level is for IoT Hub");
        let hint = if has_relay { "move it into [relay]" } else { "remove it" };
        return Err(Error::file(path, problem, hint));
    }
    let Some(table) = &document.relay else { return Ok(()) };
    if !has_relay {
        return Err(Error::file(
            path,
            "[relay] has no credential",
            "set connection-string, one of connection-string-file, -env and -command, or relay with token-command there",
        ));
    }
    let in_table = [table.device.is_some(), table.shared.is_some(), table.rendezvous_hosts.is_some()];
    let twice = of_relay.iter().zip(in_table).find(|((_, at_top), in_table)| *at_top && *in_table);
    if let Some(((key, _), _)) = twice {
        let problem = format!("{key} is both at the top level and in [relay]");
        return Err(Error::file(path, problem, "keep one of them"));
    }
    if table.relay_suffix.is_some() && table.relay.is_none() {
        let problem = "[relay] has relay-suffix, which is for the namespace that relay names";
        return Err(Error::file(path, problem, "remove it, or set relay"));
    }
    Ok(())
}

fn device_settings(document: &Document, path: &Path, source: String, text: Secret) -> DeviceSettings {
    let file = |name, key: Option<&PathBuf>| {
        systemd_credential(name).or_else(|| key.map(|key| directory(path).join(key)))
    };
    DeviceSettings {
        certificate: file("certificate", document.certificate.as_ref()),
        private_key: file("private-key", document.private_key.as_ref()),
        transport: document.transport.unwrap_or_default(),
        mqtt_port: document.mqtt_port,
        keepalive: document.keepalive.map(|seconds| seconds.0),
        token_life: document.token_life.map(|seconds| seconds.0),
        ..DeviceSettings::new(source, text)
    }
}

fn relay_settings(
    document: &Document,
    table: &RelayTable,
    source: String,
    access: RelayAccess,
) -> RelaySettings {
    let hosts = document.rendezvous_hosts.as_ref().or(table.rendezvous_hosts.as_ref());
    RelaySettings {
        entity: table.entity.clone(),
        device: document.device.clone().or_else(|| table.device.clone()),
        is_shared: document.shared.or(table.shared).unwrap_or(false),
        rendezvous_hosts: hosts.cloned().unwrap_or_default(),
        preamble: table.preamble,
        keepalive: document.keepalive.map(|seconds| seconds.0),
        token_life: document.token_life.map(|seconds| seconds.0),
        ..RelaySettings::new(source, access)
    }
}

/// Where relative paths in the file start.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
