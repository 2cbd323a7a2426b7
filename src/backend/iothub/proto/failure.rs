//! A hub's error answers, in all known forms.

use std::time::Duration;

use hyper::HeaderMap;
use serde_json::{Value, json};

use crate::time::backoff::retry_after;

/// The header with the name of the error \[S].
pub(crate) const ERROR_CODE: &str = "iothub-errorcode";

/// The characters kept of a hub's error text.
const MAX_MESSAGE: usize = 300;

/// A hub's error answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubFailure {
    /// The HTTP status.
    pub status: u16,
    /// The six-digit code, as given or found by its name.
    pub code: Option<Code>,
    /// The hub's message.
    pub message: Option<String>,
    /// The tracking id, for the service's support.
    pub tracking_id: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
}

/// A hub's error code. Its first three digits are the HTTP status \[D].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    pub const ARGUMENT_INVALID: Code = Code(400_004);
    pub const HUB_NOT_FOUND: Code = Code(401_001);
    pub const UNAUTHORIZED_ACCESS: Code = Code(401_002);
    pub const UNAUTHORIZED: Code = Code(401_003);
    pub const QUOTA_EXCEEDED: Code = Code(403_002);
    pub const NOT_IN_TIER: Code = Code(403_010);
    pub const DEVICE_DISABLED: Code = Code(403_012);
    pub const DEVICE_NOT_FOUND: Code = Code(404_001);
    pub const MODULE_NOT_FOUND: Code = Code(404_010);
    pub const FEATURE_NOT_SUPPORTED: Code = Code(404_013);
    /// Offline, or online and not subscribed to streams \[D].
    pub const DEVICE_NOT_ONLINE: Code = Code(404_103);
    pub const DEVICE_CLOSED: Code = Code(404_104);
    pub const THROTTLED: Code = Code(429_001);
    pub const GATEWAY_TIMEOUT: Code = Code(504_101);

    /// The symbolic name, as in the header [`ERROR_CODE`] \[S].
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| Code(*number))
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// The documented error codes \[D] and C#'s ErrorCode \[S].
const NAMES: [(u32, &str); 24] = [
    (400_001, "InvalidProtocolVersion"),
    (400_004, "ArgumentInvalid"),
    (400_027, "ConnectionForcefullyClosedOnNewConnection"),
    (401_000, "GenericUnauthorized"),
    (401_001, "IotHubNotFound"),
    (401_002, "IotHubUnauthorizedAccess"),
    (401_003, "IotHubUnauthorized"),
    (403_002, "IotHubQuotaExceeded"),
    (403_010, "OperationNotAvailableInCurrentTier"),
    (403_012, "DeviceDisabled"),
    (404_001, "DeviceNotFound"),
    (404_010, "ModuleNotFound"),
    (404_013, "FeatureNotSupported"),
    (404_103, "DeviceNotOnline"),
    (404_104, "DeviceConnectionClosedRemotely"),
    (409_002, "LinkCreationConflict"),
    (429_001, "ThrottlingException"),
    (429_002, "ThrottleBacklogLimitExceeded"),
    (500_001, "ServerError"),
    (500_008, "GenericTimeout"),
    (503_001, "ServiceUnavailable"),
    (503_102, "DeviceUnavailable"),
    (504_000, "GenericGatewayTimeout"),
    (504_101, "GatewayTimeout"),
];

impl HubFailure {
    /// Whether the device caused the failure, rather than the hub.
    pub fn is_device_failure(&self) -> bool {
        const DEVICE: [Code; 6] = [
            Code::DEVICE_DISABLED,
            Code::DEVICE_NOT_FOUND,
            Code::MODULE_NOT_FOUND,
            Code::DEVICE_NOT_ONLINE,
            Code::DEVICE_CLOSED,
            Code::GATEWAY_TIMEOUT,
        ];
        self.code.is_some_and(|code| DEVICE.contains(&code))
    }

    /// Parses an error answer. Fields that cannot be parsed stay empty.
    pub fn of(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let retry_after = retry_after(headers).map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
        Self::parse(status, get(ERROR_CODE), retry_after, body)
    }

    /// Parses both forms of the body, and mixtures of them.
    ///
    /// Newer: `{"Message":"{\"errorCode\":401002,\"trackingId\":…,\"message\":…}","ExceptionMessage":""}` \[I].
    /// Older: `{"Message":"ErrorCode:DeviceNotFound;…","ExceptionMessage":"Tracking ID:…"}` \[I]\[S].
    fn parse(status: u16, error_code_header: Option<&str>, retry_after: Option<u32>, body: &[u8]) -> Self {
        let mut failure = Self { status, retry_after, ..Self::default() };
        let outer: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut message = text(&outer, "Message").or_else(|| text(&outer, "message"));
        if let Some((name, rest)) = message
            .as_deref()
            .and_then(|m| m.strip_prefix("ErrorCode:"))
            .map(|m| m.split_once(';').unwrap_or((m, "")))
        {
            failure.code = Code::from_name(name.trim());
            message = Some(rest.to_owned());
        }
        if let Some(inner) =
            message.as_deref().and_then(|m| serde_json::from_str::<Value>(m).ok()).filter(Value::is_object)
        {
            failure.code = failure.code.or(inner.get("errorCode").and_then(number).map(Code));
            failure.tracking_id = text(&inner, "trackingId");
            message = text(&inner, "message");
        }
        failure.code = failure
            .code
            .or_else(|| outer.get("errorCode").and_then(number).map(Code))
            .or_else(|| error_code_header.and_then(|name| Code::from_name(name.trim())))
            .filter(|code| (1000..1_000_000).contains(&code.0));
        failure.tracking_id = failure
            .tracking_id
            .or_else(|| text(&outer, "trackingId"))
            .or_else(|| {
                let (_, id) = text(&outer, "ExceptionMessage")?
                    .split_once("Tracking ID:")
                    .map(|(a, b)| (a.len(), b.to_owned()))?;
                Some(id.trim().to_owned())
            })
            .filter(|id| !id.is_empty())
            .map(|id| id.chars().take(MAX_MESSAGE).collect());
        failure.message =
            message.map(|m| m.trim().chars().take(MAX_MESSAGE).collect::<String>()).filter(|m| !m.is_empty());
        failure
    }

    /// The newer form of the body, for the emulator. `time` is in ISO 8601. `waited` is how long the hub waited before it
    /// gave up \[I].
    pub fn body(&self, time: &str, waited: Option<Duration>) -> String {
        let mut inner = json!({
            "errorCode": self.code.map_or(u32::from(self.status) * 1000, |code| code.0),
            "trackingId": self.tracking_id.as_deref().unwrap_or_default(),
            "message": self.message.as_deref().unwrap_or_default(),
            "timestampUtc": time,
        });
        if let Some(seconds) = waited.map(|waited| waited.as_secs()) {
            let timeout = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            inner["info"] = json!({ "timeout": timeout });
        }
        json!({"Message": inner.to_string(), "ExceptionMessage": ""}).to_string()
    }
}

/// A code as a number, or a number in quotes.
fn number(value: &Value) -> Option<u32> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).and_then(|n| u32::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// azure-iot-sdk-csharp#2433, CreateStream, 2022-06-14 \[I].
    const NEWER: &str = r#"{"Message":"{\"errorCode\":401002,\"trackingId\":\"5c1a35e1b22a4ab09ac2d5e2b8d6b4e1-G:0-TimeStamp:06/14/2022 08:24:33\",\"message\":\"Unauthorized\",\"timestampUtc\":\"2022-06-14T08:24:33.8005084Z\"}","ExceptionMessage":""}"#;
    /// azure-iot-sdk-java#1108 \[I].
    const OLDER: &str = r#"{"Message":"ErrorCode:DeviceNotFound;E2E Device dev-1 not registered","ExceptionMessage":"Tracking ID:5c1a35e1b22a4ab09ac2d5e2b8d6b4e1-G:20-TimeStamp:02/05/2021 10:03:38"}"#;

    #[test]
    fn reads_both_forms_and_a_mixture() {
        let newer = HubFailure::parse(401, None, None, NEWER.as_bytes());
        assert_eq!(newer.code, Some(Code::UNAUTHORIZED_ACCESS));
        assert_eq!(newer.message.as_deref(), Some("Unauthorized"));
        assert_eq!(
            newer.tracking_id.as_deref(),
            Some("5c1a35e1b22a4ab09ac2d5e2b8d6b4e1-G:0-TimeStamp:06/14/2022 08:24:33")
        );

        let older = HubFailure::parse(404, None, None, OLDER.as_bytes());
        assert_eq!(older.code, Some(Code::DEVICE_NOT_FOUND));
        assert_eq!(older.message.as_deref(), Some("E2E Device dev-1 not registered"));
        assert_eq!(
            older.tracking_id.as_deref(),
            Some("5c1a35e1b22a4ab09ac2d5e2b8d6b4e1-G:20-TimeStamp:02/05/2021 10:03:38")
        );

        let mixed = br#"{"Message":"ErrorCode:DeviceNotOnline;{\"errorCode\":404103,\"trackingId\":\"t\",\"message\":\"Timed out waiting for device to connect.\",\"info\":{\"timeout\":\"00:01:00\"}}"}"#;
        let mixed = HubFailure::parse(404, None, None, mixed);
        assert_eq!((mixed.code, mixed.tracking_id.as_deref()), (Some(Code::DEVICE_NOT_ONLINE), Some("t")));
    }

    #[test]
    fn a_status_alone_is_enough() {
        for body in [&b""[..], b"<html>", b"{}", b"null", b"[1]", b"\"x\"", br#"{"Message":7}"#, b"\xff\xfe"]
        {
            let failure = HubFailure::parse(429, None, Some(7), body);
            assert_eq!(failure, HubFailure { status: 429, retry_after: Some(7), ..HubFailure::default() });
        }
        let named = HubFailure::parse(404, Some("DeviceNotFound"), None, b"");
        assert_eq!((named.code, named.retry_after), (Some(Code::DEVICE_NOT_FOUND), None));
        assert_eq!((Code::DEVICE_NOT_FOUND.name(), Code(1).name()), (Some("DeviceNotFound"), None));
    }

    #[test]
    fn parse_reads_what_body_writes() {
        let failure = HubFailure {
            status: 404,
            code: Some(Code::DEVICE_NOT_ONLINE),
            message: Some("Timed out waiting for device to connect.".into()),
            tracking_id: Some("abc-G:0-TimeStamp:11/23/2026 02:00:00".into()),
            retry_after: None,
        };
        let body = failure.body("2026-11-23T02:00:00Z", Some(Duration::from_secs(60)));
        assert!(body.contains(r#"\"info\":{\"timeout\":\"00:01:00\"}"#), "{body}");
        assert_eq!(HubFailure::parse(404, None, None, body.as_bytes()), failure);
    }

    proptest! {
        #[test]
        fn parse_never_panics(status in any::<u16>(), body in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = HubFailure::parse(status, Some(&text), None, &body);
            let nested = json!({"Message": text, "ExceptionMessage": format!("Tracking ID:{text}")}).to_string();
            let _ = HubFailure::parse(status, None, None, nested.as_bytes());
        }
    }
}
