//! A policy's connection string as a user pastes it.

use super::credential::Credential;
use crate::backend::Pasted;
use crate::backend::iothub::proto::ConnectionString;
use crate::error::Result;
use crate::secret::Secret;

/// Whether `text` holds one whole connection string, of a policy or of a device.
pub fn is_connection_string(text: &str) -> bool {
    ConnectionString::parse(text).is_ok()
}

/// The policy's connection string in `text`, which came from `source`.
///
/// # Errors
/// What is wrong with it, without it.
pub fn recognise(source: &str, text: &Secret) -> Result<Pasted> {
    // Text that is not a connection string is described by the credential's error.
    let connection_string = ConnectionString::plain(text.expose()).unwrap_or_else(|_| text.clone());
    let credential = Credential::from_connection_string(source.into(), &connection_string)?;
    let policy = credential.policy().map(str::to_owned);
    Ok(Pasted {
        connection_string,
        service: credential.hub.to_string(),
        warning: policy.as_deref().and_then(warning),
        policy,
    })
}

/// What the policies that a hub is made with have too much or too little of.
fn warning(policy: &str) -> Option<String> {
    match policy {
        "iothubowner" => Some(format!(
            "policy {policy} may do anything at the hub: a policy with ServiceConnect alone, such as 'service', is enough"
        )),
        "device" | "registryRead" | "registryReadWrite" => Some(format!(
            "policy {policy} cannot open streams, if it has the rights that hubs give it: use 'service'"
        )),
        _ => None,
    }
}
