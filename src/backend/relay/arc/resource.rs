//! The resource id of an Arc machine.

use std::fmt;

use serde_json::{Value, json};

use crate::backend::relay::proto::{Malformed, encode};

/// The placeholder of a device id.
const DEVICE: &str = "{device}";
/// The type of an Arc machine.
const MACHINES: &str = "/providers/Microsoft.HybridCompute/machines/";
/// How long the credentials are asked for: the most that `az ssh` asks for, in seconds \[Z].
const EXPIRES_IN: u32 = 3600;

/// The resource id of an Arc machine, percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceId(String);

impl ResourceId {
    /// The id from a template such as `/subscriptions/…/machines/{device}`, in which `device` is one segment.
    ///
    /// # Errors
    /// Returns [`Malformed`] if it is not the id of an Arc machine.
    pub(crate) fn machine(template: &str, device: &str) -> Result<Self, Malformed> {
        let wrong =
            || Malformed::new(format!("arc is not /subscriptions/ID/resourceGroups/GROUP{MACHINES}{DEVICE}"));
        let rest = template.strip_prefix('/').ok_or_else(wrong)?;
        let segments: Vec<String> = rest.split('/').map(|segment| segment.replace(DEVICE, device)).collect();
        if segments.iter().any(|segment| matches!(segment.as_str(), "" | "." | "..")) {
            return Err(Malformed::new(format!("'{device}' cannot be the name of an Arc machine")));
        }
        let id: String = segments.iter().map(|segment| format!("/{}", encode(segment))).collect();
        // The id is compared ignoring case, as Azure does.
        if !template.to_ascii_lowercase().contains(&MACHINES.to_ascii_lowercase()) {
            return Err(wrong());
        }
        Ok(Self(id))
    }

    /// The path that lists the credentials of the machine's relay, for the body [`service`] \[Z].
    pub(crate) fn list_credentials(&self) -> String {
        format!(
            "{}/providers/Microsoft.HybridConnectivity/endpoints/default/listCredentials\
             ?expiresin={EXPIRES_IN}&api-version=2023-03-15",
            self.0
        )
    }

    /// The command that makes the machine's endpoint, which is missing after a 404 \[Z].
    pub(crate) fn make_endpoint(&self) -> String {
        format!(
            "az rest --method put --url {}/providers/Microsoft.HybridConnectivity/endpoints/default?api-version=2023-03-15 \
             --body '{{\"properties\":{{\"type\":\"default\"}}}}'",
            self.0
        )
    }

    /// The command that makes the service's configuration, which is missing after a 412 \[Z].
    pub(crate) fn make_configuration(&self) -> String {
        format!(
            "az rest --method put --url {}/providers/Microsoft.HybridConnectivity/endpoints/default/serviceConfigurations/SSH\
             ?api-version=2023-03-15 --body '{{\"properties\":{{\"serviceName\":\"SSH\",\"port\":22}}}}'",
            self.0
        )
    }
}

/// The body that names the service \[Z].
pub(crate) fn service() -> Value {
    json!({ "serviceName": "SSH" })
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str =
        "/subscriptions/0123/resourceGroups/RG/providers/Microsoft.HybridCompute/machines/{device}";

    #[test]
    fn a_device_is_one_segment_of_the_id() {
        let id = ResourceId::machine(TEMPLATE, "gw 7/x").unwrap();
        assert!(id.to_string().ends_with("/machines/gw%207%2Fx"), "{id}");
        assert_eq!(
            id.list_credentials(),
            format!(
                "{id}/providers/Microsoft.HybridConnectivity/endpoints/default/listCredentials?expiresin=3600&api-version=2023-03-15"
            )
        );
        for (template, device) in [
            (TEMPLATE, ".."),
            (TEMPLATE, ""),
            ("subscriptions/0/x", "a"),
            ("/subscriptions/0/resourceGroups/RG/providers/Microsoft.Relay/namespaces/{device}", "a"),
        ] {
            assert!(ResourceId::machine(template, device).is_err(), "{template} {device}");
        }
    }
}
