//! Messages on a listener's control channel: JSON in text messages.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::json;
use serde_json::value::RawValue;

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
    /// The headers of the sender's request, in JSON. They may hold the sender's token.
    headers: Secret,
    /// The sender's IP address and port.
    pub remote: Option<String>,
}

impl Accept {
    /// A header of the sender's request, ignoring the case of its name. It is not known how repeated ones are folded: the
    /// values of a list are joined, and the last of repeated members is used.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut found = None;
        for_members(self.headers.expose(), |known, value| {
            if known.eq_ignore_ascii_case(name) {
                found = read(value).or_else(|| {
                    let values: Vec<String> = read(value)?;
                    (!values.is_empty()).then(|| values.join(", "))
                });
            }
        })?;
        found
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
        let (mut accept, mut request, mut first) = (None, None, None);
        for_members(text, |name, value| {
            match name {
                "accept" => accept = Some(value),
                "request" => request = Some(value),
                _ => {}
            }
            first.get_or_insert_with(|| name.to_owned());
        })
        .ok_or_else(|| wrong("is not a JSON object"))?;
        if let Some(accept) = accept.and_then(Accept::parse) {
            return accept.map(|accept| Self::Accept(Box::new(accept)));
        }
        if let Some(request) = request.and_then(HttpRequest::parse) {
            return Ok(Self::Request(request));
        }
        Ok(Self::Other(first.unwrap_or_default()))
    }
}

impl Accept {
    /// Parses the member of a message; `None` if it is not an object.
    fn parse(json: &str) -> Option<Result<Self, Malformed>> {
        let (mut address, mut id, mut headers, mut remote) = (None, None, None, None);
        for_members(json, |name, value| match name {
            "address" => address = read::<String>(value),
            "id" => id = read(value),
            "connectHeaders" => headers = Some(value),
            "remoteEndpoint" => remote = endpoint(value),
            _ => {}
        })?;
        let Some(address) = address else {
            return Some(Err(Malformed::new("a control message has no address to accept at")));
        };
        Some(Ok(Self {
            address: Secret::new(address),
            id: id.unwrap_or_default(),
            headers: Secret::new(headers.unwrap_or_default()),
            remote,
        }))
    }
}

impl HttpRequest {
    /// Parses the member of a message; `None` if it is not an object.
    fn parse(json: &str) -> Option<Self> {
        let (mut id, mut address) = (None, None);
        for_members(json, |name, value| match name {
            "id" => id = read(value),
            "address" => address = read::<String>(value),
            _ => {}
        })?;
        Some(Self { id, address: address.map(Secret::new) })
    }
}

/// Calls `each` with the name and the JSON of each member of an object, without storing the members, of which a message may
/// have a great many. `None` if `json` is not one object.
fn for_members<'a>(json: &'a str, each: impl FnMut(&str, &'a str)) -> Option<()> {
    struct Members<F>(F);
    impl<'de, F: FnMut(&str, &'de str)> Visitor<'de> for Members<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
            while let Some((name, value)) = members.next_entry::<String, &'de RawValue>()? {
                (self.0)(&name, value.get());
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_str(json);
    json.deserialize_map(Members(each)).ok()?;
    json.end().ok()
}

/// Reads a value; one of another type counts as missing.
fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

fn endpoint(json: &str) -> Option<String> {
    let (mut address, mut port) = (None, None);
    for_members(json, |name, value| match name {
        "address" => address = read::<String>(value),
        "port" => port = read::<u64>(value),
        _ => {}
    })?;
    let address = address?;
    Some(match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address,
    })
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
    use serde_json::Value;

    #[test]
    fn reads_the_documented_accept() {
        let text = r#"{"accept":{"address":"wss://g63-prod.servicebus.windows.net:443/$hc/hyco?sb-hc-action=accept&sb-hc-id=G_G0_G1",
            "id":"G_G0_G1","connectHeaders":{"Sec-WebSocket-Key":"k","Host":"contoso.servicebus.windows.net:443","X":["a","b"],"0":7},
            "remoteEndpoint":{"address":"203.0.113.7","port":51234},"new":{}}}"#;
        let Ok(Control::Accept(accept)) = Control::parse(text) else { panic!("no accept") };
        assert_eq!((accept.id.as_str(), accept.remote.as_deref()), ("G_G0_G1", Some("203.0.113.7:51234")));
        let header = |name| accept.header(name);
        assert_eq!(header("host").as_deref(), Some("contoso.servicebus.windows.net:443"));
        assert_eq!((header("X").as_deref(), header("0"), header("Y")), (Some("a, b"), None, None));
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
