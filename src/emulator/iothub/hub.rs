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
use crate::error::Result;

/// An IoT Hub.
#[derive(Debug)]
pub(in crate::emulator) struct Hub {
    pub(super) address: Address,
    pub(super) faults: Faults,
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
        faults: Faults,
        quota: Option<Quota>,
    ) -> Result<Self> {
        let files = Files::open(directory)?;
        let rate = quota.as_ref().map(|quota| quota.rate);
        let registry = Registry::open(files, &address, rate, faults.clock.now())?;
        let streams = Streams::new().map_err(anyhow::Error::new)?;
        Ok(Self { address, faults, quota, registry, connections: HubConnections::new(), streams })
    }

    /// Registers a device or module that authenticates with a key; one that is registered stays as it is.
    ///
    /// # Errors
    /// A connection string cannot carry the id, or a file cannot be written.
    pub(in crate::emulator) fn register(&self, identity: &Identity) -> Result<()> {
        self.registry.register(identity, self.faults.clock.now())
    }

    /// Registers a device or module that authenticates with the certificate that has this thumbprint.
    ///
    /// # Errors
    /// A connection string cannot carry the id, or a file cannot be written.
    pub(in crate::emulator) fn register_certificate(
        &self,
        identity: &Identity,
        thumbprint: Thumbprint,
    ) -> Result<()> {
        let authentication = Authentication::SelfSigned(thumbprint);
        self.registry.register_certificate(identity, authentication, self.faults.clock.now())
    }

    /// Ends streams that a side does not join in time. Runs for ever.
    pub(in crate::emulator) async fn expire_streams(&self) {
        self.streams.expire_regularly().await;
    }
}
