//! Messages on a listener's control channel: JSON in text messages.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Malformed;
use crate::secret::Secret;

/// The status for a request of the HTTP mode, as .NET answers without a handler \[D].
const NOT_IMPLEMENTED: u16 = 501;

/// A message of the service.
#[derive(Debug)]
pub(crate) enum Control {
    /// A sender waits for a listener.
    Accept(Box<Accept>),
    /// A request of the HTTP mode, which must be answered \[P].
    Request(HttpRequest),
    /// Another message, which is ignored: its name \[D].
    Other(String),
}

/// A sender that waits for a listener \[P]\[D].
pub(crate) struct Accept {
    /// The address to dial. Whoever knows it can take the stream, so it is secret.
    pub address: Secret,
    /// The tracking id.
    pub id: String,
    /// The headers of the sender's request. They may hold the sender's token.
    headers: Vec<(String, String)>,
    /// The sender's IP address and port.
    pub remote: Option<String>,
}

impl Accept {
    /// A header of the sender's request, ignoring the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").field("id", &self.id).field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// A request of the HTTP mode \[P].
#[derive(Debug)]
pub(crate) struct HttpRequest {
    /// The id for the response; `None` if the request is only an address to dial.
    pub id: Option<String>,
    /// The address to dial for a request that does not fit in the message.
    pub address: Option<Secret>,
}

impl Control {
    /// Parses a message. Members that are not known are ignored, and those of a wrong type count as missing.
    ///
    /// # Errors
    /// Returns [`Malformed`] if it is not a JSON object, or names no address to dial. The error contains nothing of it.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new(format!("a control message {problem}"));
        let Ok(Value::Object(message)) = serde_json::from_str(text) else {
            return Err(wrong("is not a JSON object"));
        };
        let member = |name: &str| message.get(name).and_then(Value::as_object);
        if let Some(accept) = member("accept") {
            let address = string(accept, "address").ok_or_else(|| wrong("has no address to accept at"))?;
            return Ok(Self::Accept(Box::new(Accept {
                address: Secret::new(address),
                id: string(accept, "id").unwrap_or_default().to_owned(),
                headers: headers(accept.get("connectHeaders")),
                remote: accept.get("remoteEndpoint").and_then(Value::as_object).and_then(remote),
            })));
        }
        if let Some(request) = member("request") {
            return Ok(Self::Request(HttpRequest {
                id: string(request, "id").map(str::to_owned),
                address: string(request, "address").map(Secret::new),
            }));
        }
        Ok(Self::Other(message.keys().next().cloned().unwrap_or_default()))
    }
}

fn string<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// The headers in any form: it is not known how repeated ones are folded.
fn headers(value: Option<&Value>) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            (!values.is_empty()).then(|| values.join(", "))
        }
        _ => None,
    };
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

fn remote(endpoint: &Map<String, Value>) -> Option<String> {
    let address = string(endpoint, "address")?;
    match endpoint.get("port").and_then(Value::as_u64) {
        Some(port) if address.contains(':') => Some(format!("[{address}]:{port}")),
        Some(port) => Some(format!("{address}:{port}")),
        None => Some(address.to_owned()),
    }
}

/// The message with a new token. A valid one gets no answer \[P].
pub(crate) fn renew_token(token: &Secret) -> Secret {
    Secret::new(json!({ "renewToken": { "token": token.expose() } }).to_string())
}

/// The answer to a request of the HTTP mode \[P]\[D].
pub(crate) fn not_implemented(id: &str) -> String {
    let answer = json!({ "response": {
        "requestId": id,
        "statusCode": NOT_IMPLEMENTED,
        "statusDescription": "this listener takes WebSockets only",
        "responseHeaders": {},
        "body": false,
    } });
    answer.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_documented_accept() {
        let text = r#"{"accept":{"address":"wss://g63-prod.servicebus.windows.net:443/$hc/hyco?sb-hc-action=accept&sb-hc-id=G_G0_G1",
            "id":"G_G0_G1","connectHeaders":{"Sec-WebSocket-Key":"k","Host":"contoso.servicebus.windows.net:443","X":["a","b"],"0":7},
            "remoteEndpoint":{"address":"203.0.113.7","port":51234},"new":{}}}"#;
        let Ok(Control::Accept(accept)) = Control::parse(text) else { panic!("no accept") };
        assert_eq!((accept.id.as_str(), accept.remote.as_deref()), ("G_G0_G1", Some("203.0.113.7:51234")));
        assert_eq!(accept.header("host"), Some("contoso.servicebus.windows.net:443"));
        assert_eq!((accept.header("X"), accept.header("0"), accept.header("Y")), (Some("a, b"), None, None));
        assert!(!format!("{accept:?}").contains("hyco"));
        let Ok(Control::Accept(bare)) = Control::parse(r#"{"accept":{"address":"a"}}"#) else {
            panic!("no accept")
        };
        assert_eq!((bare.id.as_str(), bare.remote), ("", None));
    }

    #[test]
    fn reads_requests_and_ignores_what_is_new() {
        let Ok(Control::Request(request)) =
            Control::parse(r#"{"request":{"id":"7","method":"GET","requestTarget":"/x","body":true}}"#)
        else {
            panic!("no request")
        };
        assert_eq!(request.id.as_deref(), Some("7"));
        let Ok(Control::Request(request)) = Control::parse(r#"{"request":{"address":"wss://g"}}"#) else {
            panic!("no request")
        };
        assert!(request.id.is_none() && request.address.is_some());
        assert!(matches!(Control::parse(r#"{"goodbye":1}"#), Ok(Control::Other(name)) if name == "goodbye"));
        for wrong in ["", "[]", "{", r#"{"accept":{"id":"x"}}"#, r#"{"accept":{"address":1}}"#] {
            assert!(Control::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn writes_renewals_and_responses() {
        let renewal = renew_token(&Secret::new("SharedAccessSignature sr=\"x"));
        assert_eq!(renewal.expose(), r#"{"renewToken":{"token":"SharedAccessSignature sr=\"x"}}"#);
        let answer: Value = serde_json::from_str(&not_implemented("7")).unwrap();
        assert_eq!(
            (&answer["response"]["requestId"], &answer["response"]["statusCode"]),
            (&json!("7"), &json!(501))
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".*", inner in "[\\[\\]{}\":,a-z0-9]{0,40}") {
            let _ = Control::parse(&text);
            let _ = Control::parse(&format!("{{\"accept\":{{\"address\":\"x\",\"connectHeaders\":{inner}}}}}"));
        }
    }
}
