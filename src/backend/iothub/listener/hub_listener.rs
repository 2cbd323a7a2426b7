//! The listener of IoT Hub, and the device that it logs in as.

use std::sync::Arc;
use std::time::Duration;

use super::credential::DeviceCredential;
use super::credential_source::CredentialSource;
use crate::backend::iothub::rest::endpoint;
use crate::backend::settings::{DeviceSettings, Transport};
use crate::config::WatchedFiles;
use crate::net::Endpoint;

/// The port of MQTT over TLS.
const MQTT_PORT: u16 = 8883;
/// The life of a signed token, as in every SDK \[S].
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The keepalive in CONNECT. The hub drops a client after one and a half times this silence \[D].
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The longest keepalive that the hub accepts \[D].
const MAX_KEEPALIVE: Duration = Duration::from_secs(1767);
const SECOND: Duration = Duration::from_secs(1);

/// Listens for offers to one device.
#[derive(Clone, Debug)]
pub(crate) struct HubListener {
    pub(super) source: Arc<dyn CredentialSource>,
    /// The files of the credential.
    pub(super) files: WatchedFiles,
    pub(super) settings: ConnectionSettings,
}

/// The settings of a hub connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionSettings {
    pub(super) transport: Transport,
    pub(super) mqtt_port: u16,
    pub(super) keepalive: Duration,
    pub(super) token_life: Duration,
}

impl HubListener {
    /// The listener of the device whose credential comes from `source`.
    pub(crate) fn new(source: Arc<dyn CredentialSource>, settings: &DeviceSettings) -> Self {
        let files = settings.files.clone();
        let settings = ConnectionSettings {
            transport: settings.transport,
            mqtt_port: settings.mqtt_port.unwrap_or(MQTT_PORT),
            keepalive: settings.keepalive.unwrap_or(KEEPALIVE).clamp(SECOND, MAX_KEEPALIVE),
            token_life: settings.token_life.unwrap_or(TOKEN_LIFE).max(SECOND),
        };
        Self { source, files, settings }
    }

    /// The device with this credential.
    pub(super) fn device(&self, credential: DeviceCredential) -> Device {
        Device { credential, settings: self.settings }
    }
}

/// A device whose credential is known.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) credential: DeviceCredential,
    pub(super) settings: ConnectionSettings,
}

impl Device {
    /// The HTTPS port of the hub, or of its `GatewayHostName`.
    pub(super) fn https(&self) -> Endpoint {
        endpoint(&self.credential.hub, self.credential.gateway.as_ref())
    }
}
