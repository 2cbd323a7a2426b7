//! A device's requests to its twin and the hub's answers, over MQTT \[D].

use serde_json::Value;

/// The filter of the answers' subscription. A hub without twins refuses it or ends the connection \[~].
pub(crate) const TWIN_ANSWERS: &str = "$iothub/twin/res/#";

const ANSWER_PREFIX: &str = "$iothub/twin/res/";

/// A request of a device to its twin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TwinRequest {
    /// Reads the twin.
    Get,
    /// Merges a JSON merge patch into the reported properties.
    Report(Value),
}

impl TwinRequest {
    /// The topic of the request. The id comes back in the answer.
    pub(crate) fn topic(&self, id: u32) -> String {
        let path = match self {
            Self::Get => "GET",
            Self::Report(_) => "PATCH/properties/reported",
        };
        format!("$iothub/twin/{path}/?$rid={id}")
    }

    /// The payload of the request.
    pub(crate) fn payload(&self) -> String {
        match self {
            Self::Get => String::new(),
            Self::Report(patch) => patch.to_string(),
        }
    }
}

/// The hub's answer to a [`TwinRequest`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TwinAnswer {
    /// The id of the request.
    pub id: u32,
    /// As in HTTP.
    pub status: u16,
    /// The twin, nothing, or an error.
    pub body: Vec<u8>,
}

impl TwinAnswer {
    /// Parses a PUBLISH; `None` if it is no answer to a request of ours:
    /// `$iothub/twin/res/{status}/?$rid={id}[&$version={n}]`. The version may come first \[C].
    pub(crate) fn parse(topic: &str, payload: &[u8]) -> Option<Self> {
        let (status, properties) = topic.strip_prefix(ANSWER_PREFIX)?.split_once("/?")?;
        let id = properties.split('&').find_map(|property| property.strip_prefix("$rid="))?;
        Some(Self { id: id.parse().ok()?, status: status.parse().ok()?, body: payload.to_owned() })
    }

    /// The reported properties in the answer to [`TwinRequest::Get`]; `None` if it is no twin. A twin without them has
    /// none \[C].
    pub(crate) fn reported(&self) -> Option<Value> {
        let mut twin: Value = serde_json::from_slice(&self.body).ok()?;
        twin.is_object().then(|| twin["reported"].take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn requests_have_the_documented_form() {
        assert_eq!(TwinRequest::Get.topic(7), "$iothub/twin/GET/?$rid=7");
        assert_eq!(TwinRequest::Get.payload(), "");
        let report = TwinRequest::Report(json!({ "a": null }));
        assert_eq!(report.topic(8), "$iothub/twin/PATCH/properties/reported/?$rid=8");
        assert_eq!(report.payload(), r#"{"a":null}"#);
    }

    #[test]
    fn reads_answers() {
        let parse = |topic: &str| {
            let answer = TwinAnswer::parse(&format!("{ANSWER_PREFIX}{topic}"), b"x");
            answer.map(|answer| (answer.status, answer.id))
        };
        assert_eq!(parse("204/?$rid=7&$version=6"), Some((204, 7)));
        assert_eq!(parse("204/?$version=6&$rid=7"), Some((204, 7)));
        assert_eq!(parse("200/?$rid=0"), Some((200, 0)));
        assert_eq!(parse("429/?$rid=7&retry-after=3"), Some((429, 7)));
        for other in
            ["", "204", "204/?$version=6", "x/?$rid=7", "204/?$rid=a-1", "204/?$rid=-1", "99999/?$rid=1"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(TwinAnswer::parse("$iothub/twin/PATCH/properties/desired/?$version=2", b""), None);
    }

    #[test]
    fn reads_a_twin() {
        let reported = |body: &[u8]| TwinAnswer { id: 1, status: 200, body: body.to_owned() }.reported();
        let twin = br#"{"desired":{"$version":1},"reported":{"a":1,"$version":2}}"#;
        assert_eq!(reported(twin), Some(json!({ "a": 1, "$version": 2 })));
        assert_eq!(reported(b"{}"), Some(Value::Null));
        for other in [&b""[..], b"[]", b"null", b"{\"reported\":", b"\xff"] {
            assert_eq!(reported(other), None);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(topic in any::<String>(), body in any::<Vec<u8>>()) {
            if let Some(answer) = TwinAnswer::parse(&format!("{ANSWER_PREFIX}{topic}"), &body) {
                let _ = answer.reported();
            }
        }
    }
}
