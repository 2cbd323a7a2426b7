//! The messages of the service on a control channel.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::faults::HeadersFault;

/// A sender, as an accept message tells a listener of it.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    /// The address at which the listener meets it.
    pub(super) address: &'a str,
    pub(super) id: &'a str,
    pub(super) headers: Vec<(String, String)>,
    pub(super) endpoint: Option<SocketAddr>,
}

/// The message that a sender waits for a listener \[P]\[D].
pub(super) fn accept(sender: Sender<'_>, fault: Option<HeadersFault>) -> String {
    let Sender { address, id, headers, endpoint } = sender;
    let headers = connect_headers(headers, fault);
    let endpoint = endpoint.map_or_else(String::new, |at| {
        format!(",\"remoteEndpoint\":{}", json!({ "address": at.ip().to_string(), "port": at.port() }))
    });
    format!(
        "{{\"accept\":{{\"address\":{},\"id\":{},\"connectHeaders\":{headers}{endpoint}}}}}",
        Value::from(address),
        Value::from(id)
    )
}

/// A flat object of the headers. Repeated ones are joined with commas, as in HTTP; how the service has them is not known.
fn connect_headers(headers: Vec<(String, String)>, fault: Option<HeadersFault>) -> String {
    let mut members: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let known = members.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        match (known, fault) {
            (Some((_, known)), Some(HeadersFault::Last)) => *known = value,
            (Some((_, known)), None | Some(HeadersFault::Numeric)) => *known = format!("{known}, {value}"),
            _ => members.push((name, value)),
        }
    }
    if fault == Some(HeadersFault::Numeric) {
        members.splice(0..0, ["0", "1", "length"].map(|name| (name.to_owned(), "x".to_owned())));
    }
    let members = members.into_iter();
    let members: Vec<String> =
        members.map(|(name, value)| format!("{}:{}", Value::from(name), Value::from(value))).collect();
    format!("{{{}}}", members.join(","))
}

/// A request of the HTTP mode \[P].
pub(super) fn request(
    id: &str,
    method: &str,
    target: &str,
    headers: Vec<(String, String)>,
    body: bool,
) -> String {
    let headers: Value = serde_json::from_str(&connect_headers(headers, None)).unwrap_or_default();
    json!({ "request": {
        "id": id,
        "requestTarget": target,
        "method": method,
        "requestHeaders": headers,
        "body": body,
    } })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fault: Option<HeadersFault>) -> String {
        let headers = [("Host", "h:443"), ("X-One", "1"), ("x-one", "\"2\""), ("A", "b")];
        connect_headers(headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), fault)
    }

    #[test]
    fn headers_keep_their_case() {
        assert_eq!(headers(None), r#"{"Host":"h:443","X-One":"1, \"2\"","A":"b"}"#);
        assert_eq!(headers(Some(HeadersFault::Last)), r#"{"Host":"h:443","X-One":"\"2\"","A":"b"}"#);
        let repeated = r#"{"Host":"h:443","X-One":"1","x-one":"\"2\"","A":"b"}"#;
        assert_eq!(headers(Some(HeadersFault::Repeated)), repeated);
        assert!(headers(Some(HeadersFault::Numeric)).starts_with(r#"{"0":"x","1":"x","length":"x","Host":"#));
    }

    #[test]
    fn a_message_has_all_members() {
        let text = accept(
            Sender {
                address: "wss://g/$hc/a?x=\"",
                id: "i_G0_G1",
                headers: vec![("Host".into(), "h".into())],
                endpoint: Some("[::1]:5".parse().unwrap()),
            },
            None,
        );
        let expected = json!({ "accept": {
            "address": "wss://g/$hc/a?x=\"",
            "id": "i_G0_G1",
            "connectHeaders": { "Host": "h" },
            "remoteEndpoint": { "address": "::1", "port": 5 },
        } });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
