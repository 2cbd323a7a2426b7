//! What the daemon answers: the identity of the user that asks \[S].

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::backend::address;
use crate::backend::iothub::proto::{HubAddress, Identity, Malformed};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The service, for messages.
pub(super) const NAME: &str = "the IoT Identity Service";

/// An identity.
#[derive(Deserialize)]
#[serde(tag = "type", content = "spec", rename_all = "lowercase")]
pub(super) enum Answer {
    Aziot(Spec),
    /// It has a certificate and no hub.
    Local(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) hub_name: String,
    pub(super) gateway_host: String,
    device_id: String,
    module_id: Option<String>,
    auth: Auth,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    r#type: String,
    key_handle: Option<String>,
}

impl Spec {
    /// The hub, and the device or module.
    ///
    /// # Errors
    /// Returns which name is malformed.
    pub(super) fn names(&self) -> std::result::Result<(HubAddress, Identity), Malformed> {
        let (name, port) = address::parse(&self.hub_name, "hubName")?;
        Ok((HubAddress { name, port }, Identity::new(&self.device_id, self.module_id.as_deref())?))
    }

    /// The handle of the key that signs tokens of `identity`.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if the identity has no such key: modules always have one, a device may have a
    /// certificate or a TPM.
    pub(super) fn key_handle(&self, identity: &Identity) -> Result<Secret> {
        match &self.auth {
            Auth { r#type, key_handle: Some(handle) } if r#type == "sas" => Ok(Secret::new(handle.as_str())),
            Auth { r#type: kind, .. } => Err(Error::credential(
                NAME,
                format!("{identity} authenticates with '{kind}', and only a key can sign tokens"),
                "give the agent a module, which always has a key: a principal with idtype = [\"module\"]",
            )),
        }
    }
}
