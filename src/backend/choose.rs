//! The choice of a backend. Only this file lists them.

use std::sync::Arc;

use super::access::Access;
use super::dialer::{Dialer, Request};
use super::iothub::listener::HubListener;
use super::iothub::{self, caller};
use super::listener::Listener;
use super::pasted::Pasted;
use super::registry::Registry;
use super::relay;
use super::relay::listener::RelayListener;
use super::settings::{DeviceSettings, RelaySettings};
use crate::error::{Exposure, Result};
use crate::secret::Secret;

/// The dialer for `request` at a profile's service.
///
/// # Errors
/// Returns an error if the credential cannot be read, or the device id is invalid.
pub(crate) fn dialer(access: &Access<'_>, request: Request) -> Result<Arc<dyn Dialer>> {
    Ok(Arc::new(caller::HubDialer::new(access, access.stored()?, request)?))
}

/// The device registry of a profile's service.
///
/// # Errors
/// Returns an error if the credential cannot be read, or the service has no registry.
pub(crate) fn registry(access: &Access<'_>) -> Result<Box<dyn Registry>> {
    Ok(Box::new(caller::HubRegistry::new(access, access.stored()?)?))
}

/// Whether `text` contains one complete connection string of any backend.
pub(crate) fn is_connection_string(text: &str) -> bool {
    caller::is_connection_string(text)
}

/// Finds the connection string of a profile in `text`. Errors name it by `source`.
///
/// # Errors
/// Returns [`crate::error::Error::Credential`] without a usable one. The error does not contain `text`.
pub(crate) fn recognise(source: &str, text: &Secret) -> Result<Pasted> {
    caller::recognise(source, text)
}

/// The defaults of a profile's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// The version of the REST API.
    pub api_version: &'static str,
    /// The limit of new streams a second, in words, because it depends on the service.
    pub streams_per_second: &'static str,
}

/// The defaults of a profile's keys.
pub(crate) fn defaults() -> Defaults {
    Defaults {
        api_version: iothub::proto::DEFAULT_API_VERSION,
        streams_per_second: "5 at a hub of the service, no limit elsewhere",
    }
}

/// Whether `text` is a connection string of Azure Relay and not of an IoT Hub.
pub(crate) fn is_relay(text: &Secret) -> bool {
    relay::proto::is_relay(text.expose())
}

/// The listener of a device at Azure Relay.
///
/// # Errors
/// Returns an error if the credential is invalid. The error does not contain it.
pub(crate) fn relay_listener(settings: &RelaySettings) -> Result<Arc<dyn Listener>> {
    Ok(Arc::new(RelayListener::new(settings)?))
}

/// The listener of a device at an IoT Hub. Tolerated exposures of its credential's files are added to `warnings`.
///
/// # Errors
/// Returns an error if the credential is invalid. The error does not contain it.
pub(crate) fn listener(settings: &DeviceSettings, warnings: &mut Vec<Exposure>) -> Result<Arc<dyn Listener>> {
    Ok(Arc::new(HubListener::new(settings, warnings)?))
}
