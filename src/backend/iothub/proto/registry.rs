//! The device registry: the query for all devices, and twins.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::reported::{of_properties, of_report};
use super::{Identity, Malformed, encode};
use crate::backend::registry::{Activity, Device, State};
use crate::backend::report::Reported;

/// The query for all devices, as a request's body.
pub(crate) const ALL_DEVICES: &str = r#"{"query":"SELECT * FROM devices"}"#;

/// The query for what the agents in the modules of this name have reported, as a request's body.
pub(crate) fn reports_of(module: &str) -> String {
    // A string has the escape \' \[D].
    let module = module.replace('\'', "\\'");
    let query = format!(
        "SELECT deviceId, moduleId, properties.reported.iotstream AS iotstream FROM devices.modules \
         WHERE moduleId = '{module}'"
    );
    json!({ "query": query }).to_string()
}

/// The header with the largest number of devices in a page \[D].
pub(crate) const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
/// The header with the token of the next page, in an answer and the next request \[D].
pub(crate) const CONTINUATION: &str = "x-ms-continuation";

/// The service's "never" \[D].
const NEVER: &str = "0001-01-01T00:00:00";
/// The longest accepted time, in characters.
const LONGEST_TIME: usize = 40;

/// The path of an identity's twin, which needs ServiceConnect: `/twins/{id}[/modules/{id}]?api-version={V}` \[D].
pub(crate) fn twin_path(identity: &Identity, api_version: &str) -> String {
    format!("{}?api-version={}", identity.twin(), encode(api_version))
}

/// The path of an identity in the registry, which needs RegistryRead: `/devices/{id}[/modules/{id}]?api-version={V}` \[D].
pub(crate) fn registry_path(identity: &Identity, api_version: &str) -> String {
    let module = identity.module().map_or_else(String::new, |module| format!("/modules/{}", encode(module)));
    format!("/devices/{}{module}?api-version={}", encode(identity.device()), encode(api_version))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Twin<'a> {
    device_id: String,
    #[serde(default)]
    module_id: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    connection_state: String,
    #[serde(default)]
    last_activity_time: Option<String>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

impl TryFrom<Twin<'_>> for Device {
    type Error = Malformed;

    fn try_from(twin: Twin<'_>) -> Result<Self, Malformed> {
        let state = match (twin.status.as_str(), twin.connection_state.as_str()) {
            ("disabled", _) => State::Disabled,
            (_, "Connected") => State::Online,
            _ => State::Offline,
        };
        let identity = Identity::new(&twin.device_id, twin.module_id.as_deref().filter(|id| !id.is_empty()))?;
        let last_activity =
            twin.last_activity_time.filter(|time| !time.starts_with(NEVER) && time.len() <= LONGEST_TIME);
        let last_activity = last_activity.map_or(Activity::Never, Activity::At);
        let reported = of_properties(identity.client_id(), twin.properties);
        let reported = Some(reported).filter(|reported| !reported.is_empty());
        Ok(Device { id: identity.device().to_owned(), state, last_activity, reported })
    }
}

/// Parses the twin of a device or module.
///
/// # Errors
/// Returns [`Malformed`] if `body` is not a twin.
pub(crate) fn twin(body: &[u8]) -> Result<Device, Malformed> {
    let twin: Twin<'_> = serde_json::from_slice(body).map_err(|_| Malformed::new("the answer is no twin"))?;
    twin.try_into()
}

/// The hub connection of a device or module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Whether there is one.
    pub is_online: bool,
    /// When it began, or when the last one ended. A twin does not tell.
    pub changed: Option<SystemTime>,
    /// When the device was last active: a login, or a message in either direction \[D].
    pub active: Option<SystemTime>,
}

/// Parses the hub connection from an identity's twin or registry entry.
///
/// # Errors
/// Returns [`Malformed`] if `body` is neither.
pub(crate) fn connection(body: &[u8]) -> Result<Connection, Malformed> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        connection_state: String,
        #[serde(default)]
        connection_state_updated_time: Option<String>,
        #[serde(default)]
        last_activity_time: Option<String>,
    }
    let entry: Entry =
        serde_json::from_slice(body).map_err(|_| Malformed::new("the answer has no connection state"))?;
    Ok(Connection {
        is_online: entry.connection_state == "Connected",
        changed: entry.connection_state_updated_time.as_deref().and_then(time),
        active: entry.last_activity_time.as_deref().and_then(time),
    })
}

/// A time of the service, in ISO 8601 and UTC, with a `Z` or without \[D]; `None` for "never".
fn time(text: &str) -> Option<SystemTime> {
    if text.starts_with(NEVER) || text.len() > LONGEST_TIME {
        return None;
    }
    humantime::parse_rfc3339_weak(&format!("{}Z", text.trim_end_matches('Z'))).ok()
}

/// Parses a page of devices.
///
/// # Errors
/// Returns [`Malformed`] if `body` is not a page, or an id is invalid.
pub(crate) fn devices_page(body: &[u8]) -> Result<Vec<Device>, Malformed> {
    let twins: Vec<Twin<'_>> =
        serde_json::from_slice(body).map_err(|_| Malformed::new("the answer is no list of devices"))?;
    twins.into_iter().map(Device::try_from).collect()
}

/// Parses a page of reports.
///
/// # Errors
/// Returns [`Malformed`] if `body` is not a page, or an id is invalid.
pub(crate) fn reports_page(body: &[u8]) -> Result<Vec<(Identity, Reported)>, Malformed> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row<'a> {
        device_id: String,
        module_id: String,
        #[serde(borrow, default)]
        iotstream: Option<&'a RawValue>,
    }
    let rows: Vec<Row<'_>> =
        serde_json::from_slice(body).map_err(|_| Malformed::new("the answer is no list of reports"))?;
    rows.into_iter()
        .map(|row| {
            let identity = Identity::new(&row.device_id, Some(&row.module_id))?;
            let reported = of_report(identity.client_id(), row.iotstream);
            Ok((identity, reported))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_ids_in_paths() {
        let module = Identity::new("a#b", Some("m?")).unwrap();
        assert_eq!(twin_path(&module, "2020-09-30"), "/twins/a%23b/modules/m%3F?api-version=2020-09-30");
        assert_eq!(
            registry_path(&module, "2020-09-30"),
            "/devices/a%23b/modules/m%3F?api-version=2020-09-30"
        );
        let device = Identity::new("a#b", None).unwrap();
        assert_eq!(registry_path(&device, "2020-09-30"), "/devices/a%23b?api-version=2020-09-30");
    }

    #[test]
    fn reads_hub_connections() {
        let at = |seconds, nanos| Some(SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanos));
        let registry = br#"{"deviceId":"a","connectionState":"Connected",
            "connectionStateUpdatedTime":"2022-06-14T08:24:33.8005084Z","lastActivityTime":"2022-06-14T08:24:34"}"#;
        let read = connection(registry).unwrap();
        assert_eq!(
            read,
            Connection {
                is_online: true,
                changed: at(1_655_195_073, 800_508_400),
                active: at(1_655_195_074, 0)
            }
        );
        let twin = br#"{"connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z"}"#;
        let read = connection(twin).unwrap();
        assert_eq!(read, Connection { is_online: false, changed: None, active: None });
        let long = format!("2022-06-14T08:24:33.{}", "0".repeat(21));
        assert_eq!(time(&long[..40]), at(1_655_195_073, 0));
        for text in ["soon", "Z", "", "2022-06-14T08:24:33+01:00", &long] {
            assert_eq!(time(text), None, "{text}");
        }
        assert!(connection(b"[]").is_err() && connection(b"{}").is_err());
    }

    #[test]
    fn reads_twins() {
        let page = br#"[
            {"deviceId":"a","status":"enabled","connectionState":"Connected","lastActivityTime":"2026-11-23T03:00:00Z","tags":{}},
            {"deviceId":"b","status":"enabled","connectionState":"Disconnected","lastActivityTime":"0001-01-01T00:00:00Z"},
            {"deviceId":"c","status":"disabled","connectionState":"Connected"}]"#;
        let seen: Vec<_> = devices_page(page)
            .unwrap()
            .into_iter()
            .map(|device| (device.id, device.state.name(), device.last_activity.time().map(str::to_owned)))
            .collect();
        let time = Some("2026-11-23T03:00:00Z".to_owned());
        assert_eq!(
            seen,
            [("a".into(), "online", time), ("b".into(), "offline", None), ("c".into(), "disabled", None)]
        );
        for page in ["", "{}", "[{}]", "[1]", r#"[{"deviceId":"a\nb"}]"#] {
            assert!(devices_page(page.as_bytes()).is_err(), "{page}");
        }
    }

    #[test]
    fn reads_reports() {
        let streams = r#"{"agent":"0.2.0","streams":{"s0":{"name":"ssh"}}}"#;
        let page = format!(
            r#"[{{"deviceId":"a","properties":{{"reported":{{"iotstream":{streams}}}}}}},
                {{"deviceId":"b","properties":{{"reported":{{"firmware":[]}}}}}},{{"deviceId":"c","properties":7}}]"#
        );
        let devices = devices_page(page.as_bytes()).unwrap();
        let agents = devices.iter().map(|device| device.reported.as_ref()?.agent.as_deref());
        assert_eq!(agents.collect::<Vec<_>>(), [Some("0.2.0"), None, None]);
        let page = format!(
            r#"[{{"deviceId":"a","moduleId":"m","iotstream":{streams}}},{{"deviceId":"b","moduleId":"m"}}]"#
        );
        let read = reports_page(page.as_bytes()).unwrap();
        let seen: Vec<_> =
            read.iter().map(|(_, reported)| (&*reported.device, reported.streams.len())).collect();
        assert_eq!(seen, [("a/m", 1), ("b/m", 0)]);
        for page in ["", "{}", "[1]", r#"[{"deviceId":"a"}]"#, r#"[{"deviceId":"a","moduleId":"m\nn"}]"#] {
            assert!(reports_page(page.as_bytes()).is_err(), "{page}");
        }
        assert!(reports_of("it's").contains(r"moduleId = 'it\\'s'"), "{}", reports_of("it's"));
    }
}
