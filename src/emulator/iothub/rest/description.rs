//! How the REST API describes a device or module.

use serde_json::{Value, json};

use super::credentials;
use crate::backend::iothub::proto::Identity;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::registry::Registration;
use crate::time::clock;

/// The service's "never" \[D].
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Hub {
    /// An identity as the registry shows it, with its keys only where `shows_keys` is set.
    pub(super) fn describe_in_registry(
        &self,
        identity: &Identity,
        registration: &Registration,
        shows_keys: bool,
    ) -> Value {
        let mut entry = self.describe_identity(identity, registration);
        let changed = self.connections.changed_at(identity).map(clock::iso8601);
        entry["connectionStateUpdatedTime"] = changed.as_deref().unwrap_or(NEVER).into();
        entry["statusUpdatedTime"] = NEVER.into();
        entry["generationId"] = registration.generation.to_string().into();
        entry["etag"] = registration.etag().into();
        entry["authentication"] = credentials::describe(&registration.authentication, shows_keys);
        entry
    }

    /// An identity as its twin shows it.
    pub(super) fn describe(&self, identity: &Identity, registration: &Registration) -> Value {
        let mut twin = self.describe_identity(identity, registration);
        twin["statusUpdateTime"] = NEVER.into();
        twin["authenticationType"] = credentials::kind(&registration.authentication).into();
        twin["x509Thumbprint"] = credentials::thumbprints(&registration.authentication);
        twin["deviceEtag"] = registration.etag().into();
        registration.twin.describe(&mut twin);
        twin
    }

    fn describe_identity(&self, identity: &Identity, registration: &Registration) -> Value {
        let online = self.connections.is_online(identity);
        let last = registration.last_activity.map(clock::iso8601);
        let mut description = json!({
            "deviceId": identity.device(),
            "status": if registration.enabled { "enabled" } else { "disabled" },
            "connectionState": if online { "Connected" } else { "Disconnected" },
            "lastActivityTime": last.as_deref().unwrap_or(NEVER),
            "cloudToDeviceMessageCount": 0,
        });
        match identity.module() {
            Some(module) => description["moduleId"] = module.into(),
            None => description["capabilities"] = json!({ "iotEdge": false }),
        }
        for (key, value) in &registration.details {
            description[key] = value.clone();
        }
        description
    }
}
