//! The workload API of IoT Edge, which signs for a module in its container.

use crate::backend::Pending;
use crate::backend::iothub::listener::{CredentialSource, DeviceCredential, Doubt};
use crate::error::{Error, Result};
use crate::net::Network;

/// Signs tokens through the workload API.
#[derive(Debug)]
pub(crate) struct WorkloadApi;

impl WorkloadApi {
    pub(crate) fn of_environment() -> Result<Self> {
        Ok(Self)
    }
}

impl CredentialSource for WorkloadApi {
    fn known(&self) -> Option<DeviceCredential> {
        None
    }

    fn describe(&self) -> String {
        "IoT Edge".into()
    }

    fn obtain<'a>(&'a self, _: &'a Network, _: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(async { Err(Error::Bug("it is not built yet".into())) })
    }
}
