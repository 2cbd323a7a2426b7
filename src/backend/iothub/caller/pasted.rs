//! Pasted connection strings of policies.

use super::credential::Credential;
use crate::backend::Pasted;
use crate::backend::iothub::proto::ConnectionString;
use crate::error::Result;
use crate::secret::Secret;

/// Whether `text` contains one complete connection string, of a policy or a device.
pub(crate) fn is_connection_string(text: &str) -> bool {
    ConnectionString::parse(text).is_ok()
}

/// Finds a policy's connection string in `text`. Errors name it by `source`.
///
/// # Errors
/// Returns [`crate::error::Error::Credential`] without a usable one. The error does not contain `text`.
pub(crate) fn recognise(source: &str, text: &Secret) -> Result<Pasted> {
    // The credential's error describes text that is not a connection string.
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

/// Warns about a built-in policy with too many or too few rights.
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
