//! Pasted connection strings of rules.

use super::credential::Credential;
use crate::backend::Pasted;
use crate::backend::relay::proto::ConnectionString;
use crate::error::Result;
use crate::secret::Secret;

/// The rule that every namespace has, with all rights \[P].
const ROOT: &str = "RootManageSharedAccessKey";

/// Whether `text` contains one complete connection string.
pub(crate) fn is_connection_string(text: &str) -> bool {
    ConnectionString::parse(text).is_ok()
}

/// Finds a rule's connection string in `text`. Errors name it by `source`.
///
/// # Errors
/// Returns [`crate::error::Error::Credential`] without a usable one. The error does not contain `text`.
pub(crate) fn recognise(source: &str, text: &Secret) -> Result<Pasted> {
    // The credential's error describes text that is not a connection string.
    let connection_string = ConnectionString::plain(text.expose()).unwrap_or_else(|_| text.clone());
    let credential = Credential::from_connection_string(source.into(), &connection_string)?;
    Ok(Pasted {
        connection_string,
        service: credential.namespace.to_string(),
        warning: warning(&credential),
        policy: credential.rule().map(str::to_owned),
    })
}

fn warning(credential: &Credential) -> Option<String> {
    if let Some(ROOT) = credential.rule() {
        return Some(format!(
            "policy {ROOT} may do anything in the namespace: one with Send alone is enough"
        ));
    }
    let entity = credential.entity.as_ref()?;
    Some(format!(
        "the connection string is for the hybrid connection '{entity}' alone: all devices of this profile share it, unless `entity` names others"
    ))
}
