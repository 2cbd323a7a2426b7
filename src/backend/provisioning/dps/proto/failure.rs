//! The service's refusals, and what it says about a failure.

use std::fmt;
use std::time::Duration;

use hyper::HeaderMap;
use serde_json::Value;

use crate::backend::iothub::proto::HubFailure;
use crate::error::escape;
use crate::time::backoff::retry_after;

/// The characters kept of a text.
const MOST: usize = 300;

/// A refused request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// What the body says.
    pub explanation: Explanation,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Parses a refusal. A body that cannot be read explains nothing.
    pub fn of(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self { status, explanation: Explanation::of(&body), retry_after: retry_after(headers) }
    }
}

/// The service's explanation of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The number of the error.
    pub code: Option<u64>,
    /// The message.
    pub message: Option<String>,
    /// The tracking id, for the service's support.
    pub tracking_id: Option<String>,
}

impl Explanation {
    /// Reads the body of a refusal, `{"errorCode":…,"trackingId":…,"message":…}` \[R] or `{"code":…,"message":…}` \[S], or
    /// the state of a failed registration, whose `errorMessage` may be the body of the hub's refusal: JSON in JSON \[I].
    pub(super) fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().map(str::trim).filter(|text| !text.is_empty());
        let number = |name: &str| {
            let value = &value[name];
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let message = text("errorMessage").or_else(|| text("message"));
        let code = number("errorCode").or_else(|| number("code"));
        let tracking_id = text("trackingId");
        let nested = message.filter(|message| message.starts_with('{')).map(Self::of_hub).unwrap_or_default();
        Self {
            code: code.or(nested.code),
            message: nested.message.or(message.map(short)),
            tracking_id: nested.tracking_id.or(tracking_id.map(short)),
        }
    }

    /// Reads the body of a hub's refusal.
    fn of_hub(body: &str) -> Self {
        let HubFailure { code, message, tracking_id, .. } =
            HubFailure::of(0, &HeaderMap::new(), body.as_bytes());
        Self { code: code.map(|code| code.0.into()), message, tracking_id }
    }

    /// The explanation, completed by `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            code: self.code.or(other.code),
            message: self.message.or(other.message),
            tracking_id: self.tracking_id.or(other.tracking_id),
        }
    }
}

/// `: MESSAGE (CODE, tracking id ID)`, as far as they are known.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(message) = &self.message {
            write!(f, ": {}", escape(message))?;
        }
        let id = self.tracking_id.as_ref().map(|id| format!("tracking id {}", escape(id)));
        match self.code.map(|code| code.to_string()).into_iter().chain(id).collect::<Vec<_>>().join(", ") {
            details if details.is_empty() => Ok(()),
            details => write!(f, " ({details})"),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(body: &str) -> String {
        Explanation::of(&serde_json::from_str(body).unwrap_or_default()).to_string()
    }

    #[test]
    fn reads_every_known_form() {
        for (body, text) in [
            (
                r#"{"errorCode":401002,"trackingId":"ada7d102","message":"Unauthorized","timestampUtc":"2026-11-25T22:15:35Z"}"#,
                ": Unauthorized (401002, tracking id ada7d102)",
            ),
            (r#"{"code":"404201","message":"not found"}"#, ": not found (404201)"),
            // azure-iot-sdk-c#2362 \[I].
            (
                r#"{"errorCode":401002,"errorMessage":"{\"errorCode\":401002,\"trackingId\":\"5c1a\",\"message\":\"Unauthorized\"}"}"#,
                ": Unauthorized (401002, tracking id 5c1a)",
            ),
            (
                r#"{"errorCode":400209,"errorMessage":"{\"Message\":\"ErrorCode:IotHubUnauthorizedAccess;Unauthorized\",\"ExceptionMessage\":\"Tracking ID:7f\"}"}"#,
                ": Unauthorized (400209, tracking id 7f)",
            ),
            (r#"{"errorCode":400208,"errorMessage":"{no JSON"}"#, ": {no JSON (400208)"),
            (r#"{"message":"a\u001b[2J"}"#, ": a\\u{1b}[2J"),
            (r#"{"errorCode":-1,"message":7}"#, ""),
            ("", ""),
            ("<html>", ""),
            ("[]", ""),
        ] {
            assert_eq!(shown(body), text, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(9000));
        assert_eq!(shown(&long).len(), MOST + 2);
    }

    proptest! {
        #[test]
        fn of_never_panics(status in any::<u16>(), body in any::<Vec<u8>>(), text in any::<String>()) {
            let _ = Failure::of(status, &HeaderMap::new(), &body);
            let nested = json!({ "errorMessage": format!("{{{text}"), "trackingId": text }).to_string();
            let _ = Failure::of(status, &HeaderMap::new(), nested.as_bytes()).explanation.to_string();
        }
    }
}
