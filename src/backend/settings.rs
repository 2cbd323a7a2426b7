//! What an agent's configuration says of its device, whichever backend it is for.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::secret::Secret;

/// How a device proves its identity, and how it reaches its service. `None` is the backend's default.
#[derive(Clone, Debug)]
pub struct DeviceSettings {
    pub connection_string: Secret,
    /// Where the connection string comes from, for messages.
    pub source: String,
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    pub transport: Transport,
    pub mqtt_port: Option<u16>,
    /// How long a connection to the service may be silent before it is probed.
    pub keepalive: Option<Duration>,
    /// How long a token that is signed here is valid.
    pub token_life: Option<Duration>,
}

impl DeviceSettings {
    /// A connection string from `source`, and the default of everything else.
    pub fn new(source: impl Into<String>, connection_string: Secret) -> Self {
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

/// What carries a device's connection to its service.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A WebSocket on port 443, which company networks let out.
    #[default]
    WebSocket,
    /// MQTT over TLS on port 8883.
    Mqtt,
}
