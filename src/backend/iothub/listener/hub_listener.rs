//! The listener of IoT Hub.

use std::time::Duration;

use super::credential::DeviceCredential;
use crate::backend::iothub::rest::endpoint;
use crate::backend::settings::{DeviceSettings, Transport};
use crate::error::{Exposure, Result};
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
    pub(super) credential: DeviceCredential,
    pub(super) transport: Transport,
    pub(super) mqtt_port: u16,
    pub(super) keepalive: Duration,
    pub(super) token_life: Duration,
}

impl HubListener {
    /// The listener of a device. Tolerated exposures of its files are added to `warnings`.
    ///
    /// # Errors
    /// Returns an error if the credential is invalid. The error does not contain it.
    pub(crate) fn new(settings: &DeviceSettings, warnings: &mut Vec<Exposure>) -> Result<Self> {
        let certificate = settings.certificate.as_deref().zip(settings.private_key.as_deref());
        let text = &settings.connection_string;
        Ok(Self {
            credential: DeviceCredential::new(&settings.source, text, certificate, warnings)?,
            transport: settings.transport,
            mqtt_port: settings.mqtt_port.unwrap_or(MQTT_PORT),
            keepalive: settings.keepalive.unwrap_or(KEEPALIVE).clamp(SECOND, MAX_KEEPALIVE),
            token_life: settings.token_life.unwrap_or(TOKEN_LIFE).max(SECOND),
        })
    }

    /// The HTTPS port of the hub, or of its `GatewayHostName`.
    pub(super) fn https(&self) -> Endpoint {
        endpoint(&self.credential.hub, self.credential.gateway.as_ref())
    }
}
