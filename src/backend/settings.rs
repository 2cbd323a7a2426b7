//! The settings of a device, for any backend.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{CommandLine, Preamble, WatchedFiles};
use crate::secret::Secret;

/// A device's access to its hub and its connection settings. `None` is the backend's default.
#[derive(Clone, Debug)]
pub(crate) struct DeviceSettings {
    /// The source of the device's identity and credential.
    pub access: DeviceAccess,
    /// The files of the credential.
    pub files: WatchedFiles,
    /// The transport.
    pub transport: Transport,
    /// The port of [`Transport::Mqtt`].
    pub mqtt_port: Option<u16>,
    /// The silence after which the connection to the service is probed.
    pub keepalive: Option<Duration>,
    /// The life of signed tokens.
    pub token_life: Option<Duration>,
}

impl DeviceSettings {
    /// The settings with this access and defaults.
    pub(crate) fn new(access: DeviceAccess) -> Self {
        Self {
            access,
            files: WatchedFiles::default(),
            transport: Transport::default(),
            mqtt_port: None,
            keepalive: None,
            token_life: None,
        }
    }
}

/// Where a device's identity and credential come from.
#[derive(Clone, Debug)]
pub(crate) enum DeviceAccess {
    /// The device's connection string.
    ConnectionString {
        /// Its source, for messages.
        source: String,
        /// The connection string.
        text: Secret,
        /// The client certificate, if the connection string says so.
        certificate: Option<CertificateFiles>,
    },
    /// The IoT Identity Service on this machine.
    IdentityService {
        /// The directory of its sockets, if not the usual one.
        sockets: Option<PathBuf>,
    },
    /// The workload API of IoT Edge, which the environment of a module's container names.
    IotEdge,
    /// A Device Provisioning Service.
    Provisioning(ProvisioningSettings),
}

/// The files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The certificate, with intermediates.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// A device's access to a Device Provisioning Service.
#[derive(Clone, Debug)]
pub(crate) struct ProvisioningSettings {
    /// The service, as `HOST[:PORT]`; `None` is the global endpoint.
    pub endpoint: Option<String>,
    /// The id scope.
    pub id_scope: String,
    /// The registration id, which may contain placeholders; `None` is the certificate's common name, else the host name.
    pub registration_id: Option<String>,
    /// The proof of the registration id.
    pub attestation: Attestation,
}

/// How a device proves its registration id.
#[derive(Clone, Debug)]
pub(crate) enum Attestation {
    /// A symmetric key, base64.
    Key {
        /// Its source, for messages.
        source: String,
        /// The key.
        key: Secret,
    },
    /// A client certificate.
    Certificate(CertificateFiles),
}

/// The transport of a device's connection to its service.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A WebSocket on port 443, which company networks allow.
    #[default]
    WebSocket,
    /// MQTT over TLS on port 8883.
    Mqtt,
}

/// A device's access to Azure Relay. `None` is the backend's default.
#[derive(Clone, Debug)]
pub(crate) struct RelaySettings {
    /// The credential.
    pub access: RelayAccess,
    /// The source of the credential, for messages.
    pub source: String,
    /// The files of the credential.
    pub files: WatchedFiles,
    /// The path of the hybrid connection, which a connection string may contain.
    pub entity: Option<String>,
    /// The device's own name.
    pub device: Option<String>,
    /// Whether other devices share the hybrid connection, so that callers must name this one.
    pub is_shared: bool,
    /// Patterns of further hosts at which the service may meet us.
    pub rendezvous_hosts: Vec<String>,
    /// The preamble of each stream.
    pub preamble: Option<Preamble>,
    /// The silence after which the control channel is probed.
    pub keepalive: Option<Duration>,
    /// The life of signed tokens.
    pub token_life: Option<Duration>,
}

impl RelaySettings {
    /// The settings with this credential and defaults.
    pub(crate) fn new(source: impl Into<String>, access: RelayAccess) -> Self {
        Self {
            access,
            source: source.into(),
            files: WatchedFiles::default(),
            entity: None,
            device: None,
            is_shared: false,
            rendezvous_hosts: Vec::new(),
            preamble: None,
            keepalive: None,
            token_life: None,
        }
    }
}

/// A credential for Azure Relay.
#[derive(Clone, Debug)]
pub(crate) enum RelayAccess {
    /// A connection string.
    ConnectionString(Secret),
    /// Entra ID tokens.
    Tokens {
        /// The namespace: `NAME`, or `HOST[:PORT]`.
        namespace: String,
        /// The suffix of a namespace's host name.
        suffix: Option<String>,
        /// Prints a token.
        command: CommandLine,
    },
}
