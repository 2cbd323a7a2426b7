//! A registration, and what the service says of it.

use std::time::SystemTime;

use data_encoding::BASE64;
use serde_json::{Value, json};
use uuid::Uuid;

use super::faults::NotAssigned;
use super::problem::error_body;
use crate::backend::iothub::proto::Identity;
use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::time::clock;

/// The registration of a device.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    /// As the device gave it first.
    pub(super) id: RegistrationId,
    pub(super) device: Identity,
    pub(super) end: End,
    /// How many polls are still told to ask again; `None` where not even the answer to the registration is.
    pub(super) polls: Option<u32>,
    /// The member that tells the attestation.
    pub(super) attestation: (&'static str, Value),
    pub(super) profile: Option<String>,
    pub(super) created: SystemTime,
    pub(super) updated: SystemTime,
    pub(super) etag: String,
}

/// What a registration ends as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The device is assigned to this hub.
    Assigned(String),
    Failed(u32),
    Other(NotAssigned),
}

impl End {
    /// The status \[R].
    pub(super) fn status(&self) -> &'static str {
        match self {
            End::Assigned(_) => "assigned",
            End::Failed(_) => "failed",
            End::Other(NotAssigned::Disabled) => "disabled",
            End::Other(NotAssigned::Unassigned) => "unassigned",
            End::Other(NotAssigned::Unknown) => "awaitingApproval",
        }
    }
}

/// A new etag: a quoted UUID in base64 \[D].
pub(super) fn new_etag() -> String {
    BASE64.encode(format!("\"{}\"", Uuid::new_v4()).as_bytes())
}

impl Registration {
    /// The `registrationState` while the device is not assigned yet \[D].
    pub(super) fn assigning(&self) -> Value {
        json!({ "registrationId": self.id.as_str(), "status": "assigning" })
    }

    /// The `registrationState` in the end \[R].
    pub(super) fn state(&self) -> Value {
        let mut state = json!({
            "registrationId": self.id.as_str(),
            "createdDateTimeUtc": clock::iso8601(self.created),
            "status": self.end.status(),
            "lastUpdatedDateTimeUtc": clock::iso8601(self.updated),
            "etag": self.etag,
        });
        let (name, attestation) = &self.attestation;
        match &self.end {
            End::Assigned(hub) => {
                state["assignedHub"] = hub.as_str().into();
                state["deviceId"] = self.device.device().into();
                state["substatus"] = "initialAssignment".into();
                state[*name] = attestation.clone();
                if let Some(profile) = &self.profile {
                    state["connectionProfile"] = profile.as_str().into();
                }
            }
            // The hub's own answer, JSON in JSON [I].
            End::Failed(code) => {
                state["errorCode"] = (*code).into();
                state["errorMessage"] = error_body(*code, "Unauthorized", self.updated).to_string().into();
            }
            End::Other(_) => {}
        }
        state
    }

    /// What became of it, for the log.
    pub(super) fn summary(&self) -> String {
        match &self.end {
            End::Assigned(hub) => format!("assigned to {hub} as {}", self.device),
            End::Failed(code) => format!("failed with {code}"),
            End::Other(_) => self.end.status().to_owned(),
        }
    }
}
