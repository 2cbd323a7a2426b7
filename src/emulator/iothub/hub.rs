//! The hub's state, which all of its parts share.

use std::sync::Arc;

use super::address::Address;
use super::authentication::Authentication;
use super::files::Files;
use super::gateway::Streams;
use super::hub_connections::HubConnections;
use super::quota::Quota;
use super::registry::Registry;
use crate::backend::iothub::proto::Identity;
use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::directory::Directory;
use crate::emulator::faults::Faults;
use crate::emulator::profiles::Profile;
use crate::error::{Error, Result};

/// An IoT Hub.
#[derive(Debug)]
pub(in crate::emulator) struct Hub {
    pub(super) address: Address,
    pub(super) faults: Arc<Faults>,
    /// How many streams the hub lets in; without a quota, all.
    pub(super) quota: Option<Quota>,
    pub(super) registry: Registry,
    pub(super) connections: Arc<HubConnections>,
    pub(super) streams: Arc<Streams>,
}

impl Hub {
    /// Opens the hub that `directory` has, and writes everything that clients need into it.
    ///
    /// # Errors
    /// A file is invalid, or cannot be read or written.
    pub(in crate::emulator) fn open(
        directory: Directory,
        address: Address,
        faults: Arc<Faults>,
        quota: Option<Quota>,
    ) -> Result<Self> {
        let files = Files::open(directory)?;
        let registry = Registry::open(files, &address, faults.clock.now())?;
        let streams = Streams::new().map_err(anyhow::Error::new)?;
        Ok(Self { address, faults, quota, registry, connections: HubConnections::new(), streams })
    }

    /// The profile for users on this machine.
    pub(in crate::emulator) fn profile(&self) -> Profile {
        self.registry.profile(&self.address.nearby, self.quota.as_ref().map(|quota| quota.rate))
    }

    /// Registers a device or module that authenticates with a key; one that is registered stays as it is.
    ///
    /// # Errors
    /// The id is invalid, a connection string cannot carry it, or a file cannot be written.
    pub(in crate::emulator) fn register(&self, id: &str) -> Result<()> {
        self.registry.register(&identity(id)?, self.faults.clock.now())
    }

    /// Registers a device or module that authenticates with the certificate that has this thumbprint.
    ///
    /// # Errors
    /// The id is invalid, a connection string cannot carry it, or a file cannot be written.
    pub(in crate::emulator) fn register_certificate(&self, id: &str, thumbprint: Thumbprint) -> Result<()> {
        let authentication = Authentication::SelfSigned(thumbprint);
        self.registry.register_with(&identity(id)?, authentication, self.faults.clock.now())
    }

    /// Registers a device that was assigned to the hub; one that is disabled stays so.
    ///
    /// # Errors
    /// A connection string cannot carry the id, or a file cannot be written.
    pub(in crate::emulator) fn assign(
        &self,
        device: &Identity,
        authentication: Authentication,
    ) -> Result<()> {
        self.registry.register_with(device, authentication, self.faults.clock.now())
    }

    /// The hub as connection strings name it.
    pub(in crate::emulator) fn name(&self) -> String {
        self.address.public.to_string()
    }

    /// Whether `host` is one of the hub's names.
    pub(in crate::emulator) fn is_named(&self, host: &str) -> bool {
        self.address.matches(host)
    }

    /// Ends streams that a side does not join in time. Runs for ever.
    pub(in crate::emulator) async fn expire_streams(&self) {
        self.streams.expire_regularly().await;
    }
}

/// Reads `DEVICE` or `DEVICE/MODULE`.
fn identity(text: &str) -> Result<Identity> {
    let (device, module) =
        text.split_once('/').map_or((text, None), |(device, module)| (device, Some(module)));
    Identity::new(device, module).map_err(|problem| {
        Error::usage(
            format!("device '{text}': {problem}"),
            "an id has letters, digits and -:.+%_#*?!(),=@$' in it; a module is written DEVICE/MODULE",
        )
    })
}
