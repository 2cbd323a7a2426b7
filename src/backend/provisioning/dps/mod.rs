//! The Device Provisioning Service, which assigns devices to hubs.

#[allow(dead_code)]
pub(crate) mod proto;

use crate::backend::Pending;
use crate::backend::iothub::listener::{CredentialSource, DeviceCredential, Doubt};
use crate::backend::settings::ProvisioningSettings;
use crate::error::{Error, Exposure, Result};
use crate::net::Network;

/// Registers a device and uses the hub that it is assigned to.
#[derive(Debug)]
pub(crate) struct ProvisioningService;

impl ProvisioningService {
    pub(crate) fn new(_: &ProvisioningSettings, _: &mut Vec<Exposure>) -> Result<Self> {
        Ok(Self)
    }
}

impl CredentialSource for ProvisioningService {
    fn known(&self) -> Option<DeviceCredential> {
        None
    }

    fn describe(&self) -> String {
        "the Device Provisioning Service".into()
    }

    fn obtain<'a>(&'a self, _: &'a Network, _: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(async { Err(Error::Bug("it is not built yet".into())) })
    }
}
