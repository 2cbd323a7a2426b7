//! The Device Provisioning Service, which assigns devices to hubs.

mod client;
mod error;
mod id_template;
mod phase;
mod proof;
pub(crate) mod proto;
mod provisioning_service;
mod repetition;

use self::proto::{RegistrationId, key};
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;

pub(crate) use phase::PROVISIONING;
pub(crate) use provisioning_service::ProvisioningService;

/// The key of the device `registration_id` of an enrolment group, from the group's key. Errors name that by `source`.
///
/// # Errors
/// Returns an error if the key is not base64, or the id is invalid. The error does not contain the key.
pub(crate) fn derive_key(source: &str, group_key: &Secret, registration_id: &str) -> Result<Secret> {
    let id: RegistrationId = registration_id.parse().map_err(|problem| {
        Error::usage(
            format!("{registration_id:?} is no registration id: {problem}"),
            "write the registration id of one device, as it is in the enrolment",
        )
    })?;
    key::derive(group_key, &id).map_err(|problem| {
        Error::credential(
            source,
            Problem::of(problem),
            "give the primary or secondary key of the enrolment group",
        )
    })
}
