//! The choice of a backend: the one place that knows which there are.

use std::sync::Arc;

use super::access::Access;
use super::dialer::{Dialer, Request};
use super::iothub::listener::HubListener;
use super::iothub::{self, caller};
use super::listener::Listener;
use super::pasted::Pasted;
use super::registry::Registry;
use super::settings::DeviceSettings;
use crate::error::Exposure;
use crate::error::Result;
use crate::secret::Secret;

/// What asks the service of a profile for `request`'s stream.
///
/// # Errors
/// Why the credential cannot be read, or that no device can have such an id.
pub fn dialer(access: &Access<'_>, request: Request) -> Result<Arc<dyn Dialer>> {
    Ok(Arc::new(caller::HubDialer::new(access, request)?))
}

/// The device list of a profile's service.
///
/// # Errors
/// Why the credential cannot be read, or that the service has no such list.
pub fn registry(access: &Access<'_>) -> Result<Box<dyn Registry>> {
    Ok(Box::new(caller::HubRegistry::new(access)?))
}

/// Whether `text` holds one whole connection string of any backend, whatever it gives access to.
pub fn is_connection_string(text: &str) -> bool {
    caller::is_connection_string(text)
}

/// The connection string for a profile in `text`, which came from `source`.
///
/// # Errors
/// What is wrong with it, without it.
pub fn recognise(source: &str, text: &Secret) -> Result<Pasted> {
    caller::recognise(source, text)
}

/// What a backend uses where the profile says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    pub api_version: &'static str,
    /// In words, for it may depend on the service.
    pub streams_per_second: &'static str,
}

/// The defaults of profiles.
pub fn defaults() -> Defaults {
    Defaults {
        api_version: iothub::proto::DEFAULT_API_VERSION,
        streams_per_second: "5 at a hub of the service, no limit elsewhere",
    }
}

/// The listener of a device. Files of its credential that other users can change are added to `warnings`, where that is
/// no reason to refuse them.
///
/// # Errors
/// What is wrong with the credential; never what it holds.
pub fn listener(settings: &DeviceSettings, warnings: &mut Vec<Exposure>) -> Result<Arc<dyn Listener>> {
    Ok(Arc::new(HubListener::new(settings, warnings)?))
}
