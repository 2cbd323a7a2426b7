//! The IoT Identity Service, a daemon that keeps the identities and keys of this machine's modules.

use crate::backend::Pending;
use crate::backend::iothub::listener::{CredentialSource, DeviceCredential, Doubt};
use crate::error::{Error, Result};
use crate::net::Network;

/// Takes the identity from the daemon, which signs tokens.
#[derive(Debug)]
pub(crate) struct IdentityService;

impl IdentityService {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl CredentialSource for IdentityService {
    fn known(&self) -> Option<DeviceCredential> {
        None
    }

    fn describe(&self) -> String {
        "the IoT Identity Service".into()
    }

    fn obtain<'a>(&'a self, _: &'a Network, _: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(async { Err(Error::Bug("it is not built yet".into())) })
    }
}
