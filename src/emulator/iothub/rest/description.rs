//! How the REST API describes a device or module.

use serde_json::{Value, json};

use crate::backend::iothub::proto::Identity;
use crate::emulator::iothub::authentication::Authentication;
use crate::emulator::iothub::hub::Hub;
use crate::emulator::iothub::registry::Registration;
use crate::time::clock;

/// The service's "never" \[D].
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Hub {
    /// An identity as the registry shows it.
    pub(super) fn describe_in_registry(&self, identity: &Identity, registration: &Registration) -> Value {
        let mut entry = self.describe(identity, registration);
        let changed = self.connections.changed_at(identity).map(clock::iso8601);
        entry["connectionStateUpdatedTime"] = changed.as_deref().unwrap_or(NEVER).into();
        entry
    }

    /// An identity as its twin shows it. Its keys are in the emulator's directory only.
    pub(super) fn describe(&self, identity: &Identity, registration: &Registration) -> Value {
        let online = self.connections.is_online(identity);
        let last = registration.last_activity.map(clock::iso8601);
        let mut twin = json!({
            "deviceId": identity.device(),
            "status": if registration.enabled { "enabled" } else { "disabled" },
            "connectionState": if online { "Connected" } else { "Disconnected" },
            "lastActivityTime": last.as_deref().unwrap_or(NEVER),
            "authenticationType": match registration.authentication {
                Authentication::SharedKey(_) => "sas",
                Authentication::SelfSigned(_) => "selfSigned",
                Authentication::CertificateAuthority => "certificateAuthority",
            },
            "cloudToDeviceMessageCount": 0,
        });
        registration.twin.describe(&mut twin);
        twin["deviceEtag"] = twin["etag"].clone();
        if let Some(module) = identity.module() {
            twin["moduleId"] = module.into();
        }
        twin
    }
}
