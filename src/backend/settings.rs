//! The settings of a device, for any backend.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{CommandLine, Preamble};
use crate::secret::Secret;

/// A device's credential and connection settings. `None` is the backend's default.
#[derive(Clone, Debug)]
pub(crate) struct DeviceSettings {
    /// The device's connection string.
    pub connection_string: Secret,
    /// The source of the connection string, for messages.
    pub source: String,
    /// The file of the client certificate.
    pub certificate: Option<PathBuf>,
    /// The file of the certificate's private key.
    pub private_key: Option<PathBuf>,
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
    /// The settings with this connection string and defaults.
    pub(crate) fn new(source: impl Into<String>, connection_string: Secret) -> Self {
        Self {
            connection_string,
            source: source.into(),
            certificate: None,
            private_key: None,
            transport: Transport::default(),
            mqtt_port: None,
            keepalive: None,
            token_life: None,
        }
    }
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
