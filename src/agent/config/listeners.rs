//! The listeners of a configuration: one for each service that it has a credential for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::schema::{Document, IdentityProvider, ProvisioningTable, RelayTable};
use crate::backend::{
    self, Attestation, CertificateFiles, DeviceAccess, DeviceSettings, Listener, ProvisioningSettings,
    RelayAccess, RelaySettings,
};
use crate::config::{CommandLine, Keys, Owner, SecretText, Source, WatchedFiles, systemd_credential};
use crate::error::{Error, Exposure, Result};
use crate::secret::Secret;

/// The names of the systemd credentials with the connection strings.
const CONNECTION_STRING: &str = "connection-string";
const RELAY_CONNECTION_STRING: &str = "relay-connection-string";

/// The systemd credentials of the certificate at the top level.
const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private-key";

/// The systemd credentials of `[provisioning]`.
const PROVISIONING_KEY: &str = "provisioning-key";
const PROVISIONING_CERTIFICATE: &str = "provisioning-certificate";
const PROVISIONING_PRIVATE_KEY: &str = "provisioning-private-key";

/// A connection string, and where it comes from.
struct Found {
    source: String,
    text: Secret,
}

/// A credential at the top level.
enum TopLevel {
    /// A connection string of either service.
    ConnectionString(Found),
    /// Another access to an IoT Hub, and the key that names it.
    Other(&'static str, DeviceAccess),
}

/// The listener of a connection string of any service, which `files` contain. Errors name the connection string by `source`.
///
/// # Errors
/// Returns an error if the connection string is invalid.
pub(super) fn listener(
    source: impl Into<String>,
    text: Secret,
    files: WatchedFiles,
    warnings: &mut Vec<Exposure>,
) -> Result<Arc<dyn Listener>> {
    if backend::is_relay(&text) {
        let settings = RelaySettings::new(source, RelayAccess::ConnectionString(text));
        return backend::relay_listener(&RelaySettings { files, ..settings });
    }
    let access = DeviceAccess::ConnectionString { source: source.into(), text, certificate: None };
    backend::listener(&DeviceSettings { files, ..DeviceSettings::new(access) }, warnings)
}

/// The listeners of the configuration file at `path`, which is also `own`. Tolerated exposures of the files that it names are
/// added to `warnings`.
///
/// # Errors
/// Returns an error if a credential is missing, superfluous or invalid, or a key is for a service without a credential.
pub(super) fn listeners(
    document: &Document,
    path: &Path,
    own: WatchedFiles,
    warnings: &mut Vec<Exposure>,
) -> Result<Vec<Arc<dyn Listener>>> {
    let files = credential_files(document, path, own);
    let none = RelayTable::default();
    let table = document.relay.as_ref().unwrap_or(&none);
    let relay = relay_access(table, path, warnings)?;
    let top = top_level(document, path, relay.is_some(), warnings)?;
    let (hub, relay) = match (top, relay) {
        (Some(TopLevel::ConnectionString(top)), None) if backend::is_relay(&top.text) => {
            (None, Some((top.source, RelayAccess::ConnectionString(top.text))))
        }
        (Some(TopLevel::ConnectionString(top)), Some((source, _))) if backend::is_relay(&top.text) => {
            let problem = format!("it has two credentials for Azure Relay: {} and {source}", top.source);
            return Err(Error::file(path, problem, "keep one of them"));
        }
        (Some(top), Some((source, RelayAccess::ConnectionString(text)))) if is_hub(&text) => {
            let top = match top {
                TopLevel::ConnectionString(top) => top.source,
                TopLevel::Other(key, _) => key.into(),
            };
            let problem = format!("it has two credentials for IoT Hub: {top} and {source}");
            return Err(Error::file(path, problem, "[relay] takes a connection string of Azure Relay"));
        }
        (None, Some((source, RelayAccess::ConnectionString(text)))) if is_hub(&text) => {
            let problem = format!("{source} is a connection string of IoT Hub, and not of Azure Relay");
            return Err(Error::file(path, problem, "put it at the top level, outside of [relay]"));
        }
        (top, relay) => (top, relay),
    };
    let hub = hub.map(|top| match top {
        TopLevel::ConnectionString(Found { source, text }) => {
            let certificate = certificate_files(document, path);
            DeviceAccess::ConnectionString { source, text, certificate }
        }
        TopLevel::Other(_, access) => access,
    });
    check_keys(document, path, hub.is_some(), relay.is_some())?;
    let mut listeners = Vec::new();
    if let Some(access) = hub {
        let settings = DeviceSettings { files: files.clone(), ..device_settings(document, access) };
        listeners.push(backend::listener(&settings, warnings)?);
    }
    if let Some((source, access)) = relay {
        let settings = RelaySettings { files, ..relay_settings(document, table, source, access) };
        listeners.push(backend::relay_listener(&settings)?);
    }
    Ok(listeners)
}

/// The files that the credentials come from, which have not been read yet but for the configuration's `own`.
fn credential_files(document: &Document, path: &Path, own: WatchedFiles) -> WatchedFiles {
    let mut files = if document.holds_credential() { own } else { WatchedFiles::default() };
    let (relay, provisioning) = (document.relay.as_ref(), document.provisioning.as_ref());
    for (credential, key) in [
        (CONNECTION_STRING, &document.connection_string_file),
        (RELAY_CONNECTION_STRING, relay.map_or(&None, |table| &table.connection_string_file)),
        (CERTIFICATE, &document.certificate),
        (PRIVATE_KEY, &document.private_key),
        (PROVISIONING_KEY, provisioning.map_or(&None, |table| &table.key_file)),
        (PROVISIONING_CERTIFICATE, provisioning.map_or(&None, |table| &table.certificate)),
        (PROVISIONING_PRIVATE_KEY, provisioning.map_or(&None, |table| &table.private_key)),
    ] {
        let named = key.as_ref().map(|key| directory(path).join(key));
        if let Some(file) = systemd_credential(credential).or(named) {
            files.add(file);
        }
    }
    files
}

/// The credential at the top level, which may be missing if there is another credential.
fn top_level(
    document: &Document,
    path: &Path,
    may_be_missing: bool,
    warnings: &mut Vec<Exposure>,
) -> Result<Option<TopLevel>> {
    let keys = secret_keys(
        CONNECTION_STRING,
        document.connection_string.as_ref(),
        document.connection_string_file.as_deref(),
        document.connection_string_env.as_deref(),
        document.connection_string_command.as_ref(),
    );
    let owner = Owner::Agent(path);
    let other = other_access(document, path, warnings)?;
    if let Some((key, access)) = other {
        let second = if keys.is_empty() {
            let certificate =
                [("certificate", &document.certificate), ("private-key", &document.private_key)];
            certificate.into_iter().find(|(_, file)| file.is_some()).map(|(key, _)| key.to_owned())
        } else {
            Some(Source::of(owner, keys, directory(path))?.name(owner))
        };
        return match second {
            None => Ok(Some(TopLevel::Other(key, access))),
            Some(second) => {
                let problem =
                    format!("it has both {key} and {second}, each of which gives the device an identity");
                Err(Error::file(path, problem, "keep one of them"))
            }
        };
    }
    if keys.is_empty() && may_be_missing {
        return Ok(None);
    }
    if keys.is_empty() && backend::is_iot_edge_module() {
        return Ok(Some(TopLevel::Other("the environment of IoT Edge", DeviceAccess::IotEdge)));
    }
    let source = Source::of(owner, keys, directory(path))?;
    let text = source.read_leniently(owner, warnings)?;
    Ok(Some(TopLevel::ConnectionString(Found { source: source.describe(owner), text })))
}

/// The access that `identity` or `[provisioning]` names.
fn other_access(
    document: &Document,
    path: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<Option<(&'static str, DeviceAccess)>> {
    if document.aziot_sockets.is_some() && document.identity.is_none() {
        return Err(Error::file(path, "it has aziot-sockets but no identity", "set identity = \"aziot\""));
    }
    match (document.identity, &document.provisioning) {
        (None, None) => Ok(None),
        (Some(IdentityProvider::Aziot), None) => {
            let sockets = document.aziot_sockets.as_ref().map(|sockets| directory(path).join(sockets));
            Ok(Some(("identity", DeviceAccess::IdentityService { sockets })))
        }
        (None, Some(table)) => {
            let settings = provisioning_settings(table, path, warnings)?;
            Ok(Some(("[provisioning]", DeviceAccess::Provisioning(settings))))
        }
        (Some(_), Some(_)) => {
            let problem =
                "it has both identity and [provisioning], each of which gives the device an identity";
            Err(Error::file(path, problem, "keep one of them"))
        }
    }
}

fn provisioning_settings(
    table: &ProvisioningTable,
    path: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<ProvisioningSettings> {
    let owner = Owner::AgentProvisioning(path);
    let keys = secret_keys(
        PROVISIONING_KEY,
        table.key.as_ref(),
        table.key_file.as_deref(),
        table.key_env.as_deref(),
        table.key_command.as_ref(),
    );
    let file = |name, key: Option<&PathBuf>| {
        key.map(|key| systemd_credential(name).unwrap_or_else(|| directory(path).join(key)))
    };
    let certificate = file(PROVISIONING_CERTIFICATE, table.certificate.as_ref());
    let private_key = file(PROVISIONING_PRIVATE_KEY, table.private_key.as_ref());
    let attestation = match (certificate, private_key) {
        (None, None) => {
            let source = Source::of(owner, keys, directory(path))?;
            let key = source.read_leniently(owner, warnings)?;
            Attestation::Key { source: source.describe(owner), key }
        }
        (Some(certificate), Some(private_key)) if keys.is_empty() => {
            Attestation::Certificate(CertificateFiles { certificate, private_key })
        }
        (Some(_), Some(_)) => {
            let key = Source::of(owner, keys, directory(path))?.name(owner);
            let problem = format!("[provisioning] has both {key} and certificate");
            return Err(Error::file(path, problem, "keep one of them"));
        }
        (certificate, _) => {
            let (has, has_not) = if certificate.is_some() {
                ("certificate", "private-key")
            } else {
                ("private-key", "certificate")
            };
            let problem = format!("[provisioning] has {has} but no {has_not}");
            return Err(Error::file(path, problem, "set both, or neither"));
        }
    };
    Ok(ProvisioningSettings {
        endpoint: table.endpoint.clone(),
        id_scope: table.id_scope.clone(),
        registration_id: table.registration_id.clone(),
        attestation,
    })
}

/// The credential of `[relay]`, if it has one, and its source.
fn relay_access(
    table: &RelayTable,
    path: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<Option<(String, RelayAccess)>> {
    let keys = secret_keys(
        RELAY_CONNECTION_STRING,
        table.connection_string.as_ref(),
        table.connection_string_file.as_deref(),
        table.connection_string_env.as_deref(),
        table.connection_string_command.as_ref(),
    );
    let services = [("relay", table.relay.as_deref()), ("", None), ("", None)];
    let keys = Keys { services, token_command: table.token_command.as_ref(), ..keys };
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

/// The keys of a secret. The systemd `credential` replaces a file that the service's user may not be able to read.
fn secret_keys<'a>(
    credential: &'static str,
    text: Option<&'a SecretText>,
    file: Option<&'a Path>,
    variable: Option<&'a str>,
    command: Option<&'a CommandLine>,
) -> Keys<'a> {
    let systemd = systemd_credential(credential).map(|_| credential);
    Keys {
        connection_string: text.map(|text| &text.0),
        connection_string_file: file.filter(|_| systemd.is_none()),
        connection_string_env: variable,
        connection_string_command: command,
        connection_string_credential: systemd,
        ..Keys::default()
    }
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

/// The certificate at the top level.
fn certificate_files(document: &Document, path: &Path) -> Option<CertificateFiles> {
    let file = |name, key: Option<&PathBuf>| {
        systemd_credential(name).or_else(|| key.map(|key| directory(path).join(key)))
    };
    Some(CertificateFiles {
        certificate: file(CERTIFICATE, document.certificate.as_ref())?,
        private_key: file(PRIVATE_KEY, document.private_key.as_ref())?,
    })
}

fn device_settings(document: &Document, access: DeviceAccess) -> DeviceSettings {
    DeviceSettings {
        transport: document.transport.unwrap_or_default(),
        mqtt_port: document.mqtt_port,
        keepalive: document.keepalive.map(|seconds| seconds.0),
        token_life: document.token_life.map(|seconds| seconds.0),
        ..DeviceSettings::new(access)
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
