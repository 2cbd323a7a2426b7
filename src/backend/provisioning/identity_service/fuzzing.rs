//! What fuzzing runs of this folder: the daemon's answers.

use super::answer::Answer;
use crate::backend::iothub::proto::{HubAddress, Identity};

/// The identity of the user that asks. The handle of a key, which is a secret, is returned with what is said without it.
pub fn answer(body: &[u8]) -> Option<(String, String)> {
    let Ok(Answer::Aziot(spec)) = serde_json::from_slice::<Answer>(body) else { return None };
    let (hub, identity) = spec.names().ok()?;
    assert_eq!(HubAddress::parse(&hub.to_string()).ok(), Some(hub.clone()));
    assert_eq!(Identity::new(identity.device(), identity.module()).ok().as_ref(), Some(&identity));
    let handle = spec.key_handle(&identity).ok()?;
    Some((handle.expose().to_owned(), format!("{hub} {identity} {handle:?}")))
}
