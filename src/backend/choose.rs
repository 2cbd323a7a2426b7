//! The choice of a backend. Only this file lists them.

use std::path::Path;
use std::sync::Arc;

use super::access::{Access, Stored};
use super::arm;
use super::dialer::{Dialer, Request};
use super::iothub;
use super::iothub::listener::{Configured, CredentialSource, HubListener};
use super::listener::Listener;
use super::pasted::Pasted;
pub(crate) use super::provisioning::is_module as is_iot_edge_module;
use super::provisioning::{IdentityService, ProvisioningService, WorkloadApi};
use super::registry::Registry;
use super::relay;
use super::relay::listener::RelayListener;
use super::settings::{DeviceAccess, DeviceSettings, RelaySettings};
use crate::config::Source;
use crate::error::{Error, Exposure, Result};
use crate::net::Network;
use crate::profile::Profile;
use crate::secret::Secret;

/// A backend of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    IotHub,
    Relay,
    Arc,
}

impl Backend {
    /// The backend of a connection string, by its keys.
    fn of_connection_string(text: &Secret) -> Self {
        if relay::proto::is_relay(text.expose()) { Self::Relay } else { Self::IotHub }
    }

    /// The backend of Entra ID tokens, by the key that names their service.
    fn of_key(key: &str) -> Self {
        match key {
            "relay" => Self::Relay,
            "arc" => Self::Arc,
            _ => Self::IotHub,
        }
    }

    /// The backend of a profile.
    ///
    /// # Errors
    /// Returns an error if the profile has a key of another backend.
    fn of(access: &Access<'_>, stored: &Stored<'_>) -> Result<Self> {
        let backend = match stored {
            Stored::ConnectionString { text, .. } => Self::of_connection_string(text),
            Stored::TokenCommand { key, .. } => Self::of_key(key),
        };
        let foreign = keys(access.profile)
            .into_iter()
            .find(|key| key.value.is_some() && !key.backends.contains(&backend));
        match foreign {
            None => Ok(backend),
            Some(Key { name, backends: others, .. }) => Err(Error::credential(
                format!("profile '{}'", access.name),
                format!("{name} is for {}, and this profile is for {}", others[0].name(), backend.name()),
                format!("remove {name}, or use another credential"),
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::IotHub => "an IoT hub",
            Self::Relay => "Azure Relay",
            Self::Arc => "Azure Arc",
        }
    }
}

/// A key of a profile that some backends alone have.
#[derive(Debug)]
pub(crate) struct Key {
    /// The key.
    pub name: &'static str,
    /// Its value in the profile.
    pub value: Option<String>,
    /// Its default, in words if it depends on something.
    pub default: &'static str,
    backends: &'static [Backend],
}

fn keys(profile: &Profile) -> [Key; 9] {
    let hub = |name, value: &Option<String>, default| {
        let value = value.clone();
        Key { name, value, default, backends: &[Backend::IotHub] }
    };
    let relay = |name, value, default| Key { name, value, default, backends: &[Backend::Relay] };
    let arc = |name, value, default| Key { name, value, default, backends: &[Backend::Relay, Backend::Arc] };
    [
        hub("api-version", &profile.api_version, iothub::proto::DEFAULT_API_VERSION),
        hub("module", &profile.module, "none: the device itself"),
        relay("entity", profile.entity.clone(), "the connection string's EntityPath, else {device}"),
        relay("stream-in-path", profile.stream_in_path.map(|is| is.to_string()), "true without a preamble"),
        relay("preamble", profile.preamble.map(|preamble| preamble.to_string()), "none"),
        relay("resource", profile.resource.clone(), "none"),
        relay(
            "arm-token-command",
            profile.arm_token_command.as_ref().map(ToString::to_string),
            "token-command",
        ),
        arc("arm-endpoint", profile.arm_endpoint.clone(), arm::HOST_NAME),
        arc("relay-suffix", profile.relay_suffix.clone(), relay::proto::SUFFIX),
    ]
}

/// The dialer for `request` at a profile's service.
///
/// # Errors
/// Returns an error if the credential cannot be read, or a name is invalid.
pub(crate) fn dialer(access: &Access<'_>, request: Request) -> Result<Arc<dyn Dialer>> {
    let stored = access.stored()?;
    Ok(match Backend::of(access, &stored)? {
        Backend::IotHub => Arc::new(iothub::caller::HubDialer::new(access, stored, request)?),
        Backend::Relay => Arc::new(relay::caller::RelayDialer::new(access, stored, request)?),
        Backend::Arc => {
            let template = access.profile.arc.as_deref().unwrap_or_default();
            Arc::new(relay::arc::ArcDialer::new(access, template, request)?)
        }
    })
}

/// The dialer for a machine of Azure Arc whose credentials `az ssh` passes: in `file`, else in its variable. `suffix` is the
/// domain of relays in another cloud.
///
/// # Errors
/// Returns an error if they cannot be read or used. The error does not contain them.
pub(crate) fn dialer_of_az(
    file: Option<&Path>,
    suffix: Option<&str>,
    network: &Network,
    request: Request,
) -> Result<Arc<dyn Dialer>> {
    Ok(Arc::new(relay::arc::ArcDialer::of_az(file, suffix, network, request)?))
}

/// The device registry of a profile's service.
///
/// # Errors
/// Returns an error if the credential cannot be read, or the service has no registry.
pub(crate) fn registry(access: &Access<'_>) -> Result<Box<dyn Registry>> {
    let stored = access.stored()?;
    Ok(match Backend::of(access, &stored)? {
        Backend::IotHub => Box::new(iothub::caller::HubRegistry::new(access, stored)?),
        Backend::Relay => Box::new(relay::caller::Namespaces::new(access, stored)?),
        Backend::Arc => {
            return Err(Error::credential(
                format!("profile '{}'", access.name),
                "iotstream does not list the machines of Azure Arc",
                "`az connectedmachine list` does",
            ));
        }
    })
}

/// Whether `text` contains one complete connection string of any backend.
pub(crate) fn is_connection_string(text: &str) -> bool {
    iothub::caller::is_connection_string(text) || relay::caller::is_connection_string(text)
}

/// Finds the connection string of a profile in `text`. Errors name it by `source`.
///
/// # Errors
/// Returns [`Error::Credential`] without a usable one. The error does not contain `text`.
pub(crate) fn recognise(source: &str, text: &Secret) -> Result<Pasted> {
    match Backend::of_connection_string(text) {
        Backend::IotHub | Backend::Arc => iothub::caller::recognise(source, text),
        Backend::Relay => relay::caller::recognise(source, text),
    }
}

/// The keys of a profile that depend on its backend.
#[derive(Debug)]
pub(crate) struct BackendKeys {
    /// The backend's own.
    pub own: Vec<Key>,
    /// The default limit of new streams a second, in words, because it depends on the service.
    pub streams_per_second: &'static str,
}

/// The keys of `profile`, whose credential is in `source`. Without running a command, the backend may not be known: then
/// the profile's other keys tell.
pub(crate) fn backend_keys(profile: &Profile, source: &Source<'_>) -> BackendKeys {
    let keys = keys(profile);
    let backend = match source {
        Source::Token { key, .. } => Backend::of_key(key),
        Source::Inline(text) => Backend::of_connection_string(text),
        _ => keys.iter().find(|key| key.value.is_some()).map_or(Backend::IotHub, |key| key.backends[0]),
    };
    BackendKeys {
        own: keys.into_iter().filter(|key| key.backends.contains(&backend)).collect(),
        streams_per_second: match backend {
            Backend::IotHub => "5 at a hub of the service, no limit elsewhere",
            Backend::Relay | Backend::Arc => "no limit",
        },
    }
}

/// Whether the service of `profile` may keep what devices report, as far as its keys tell.
pub(crate) fn may_keep_reports(profile: &Profile) -> bool {
    let inline = profile.connection_string.as_ref();
    let is_relay =
        profile.relay.is_some() || profile.arc.is_some() || inline.is_some_and(|text| is_relay(&text.0));
    !is_relay
        && keys(profile).iter().all(|key| key.value.is_none() || key.backends.contains(&Backend::IotHub))
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
    let source: Arc<dyn CredentialSource> = match &settings.access {
        DeviceAccess::ConnectionString { source, text, certificate } => {
            Arc::new(Configured::of_connection_string(source, text, certificate.as_ref(), warnings)?)
        }
        DeviceAccess::IdentityService { sockets } => Arc::new(IdentityService::new(sockets.as_deref())),
        DeviceAccess::IotEdge => Arc::new(WorkloadApi::of_environment()?),
        DeviceAccess::Provisioning(settings) => Arc::new(ProvisioningService::new(settings, warnings)?),
    };
    Ok(Arc::new(HubListener::new(source, settings)))
}
