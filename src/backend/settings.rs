//! The settings of a device, for any backend.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

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
