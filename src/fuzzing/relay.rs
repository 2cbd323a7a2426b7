//! What Azure Relay says, and what users write of it.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::backend::Joined;
use crate::backend::relay::preamble;
use crate::backend::relay::proto::{
    self, Cause, ConnectionString, Control, Entity, Key, Namespace, Page, SasToken, Template, UnixSeconds,
    is_relay, is_usual, rejection, resource,
};
use crate::net::WssUrl;
use crate::secret::Secret;
use crate::tunnel::fuzzing::WithoutTcp;

/// Reads a connection string, and one that is printed of it. The problem of one that cannot be read is returned.
pub fn connection_string(text: &str) -> Option<String> {
    let parsed = match ConnectionString::parse(text) {
        Ok(parsed) => parsed,
        Err(problem) => return Some(problem.0),
    };
    let _ = is_relay(text);
    let ConnectionString { namespace, entity, key } = &parsed;
    let mut printed = format!("Endpoint=sb://{namespace}/");
    if let Some(entity) = entity {
        printed += &format!(";EntityPath={entity}");
    }
    match key {
        Key::Rule { name, key } => {
            printed += &format!(";SharedAccessKeyName={name};SharedAccessKey={}", key.expose());
            assert!(name.chars().count() <= 256 && key.expose().len() <= 4 * 256);
        }
        Key::Signature(token) => printed += &format!(";SharedAccessSignature={}", token.text().expose()),
    }
    // What separates parts, or looks like an escape of HTML or the quotes around a part, is not kept.
    let is_plain = |text: &str| {
        text.is_ascii() && !text.contains(['"', '\'', '`', '&', '#', ' ']) && !text.contains(char::is_control)
    };
    let end_is_plain = !printed.ends_with([',', ';']);
    if is_plain(printed.strip_prefix("Endpoint=").unwrap_or_default()) && end_is_plain {
        let again = ConnectionString::parse(&printed).expect("what is printed can be read");
        assert_eq!((&again.namespace, &again.entity), (namespace, entity));
        assert!(is_relay(&printed));
    }
    None
}

/// Signs a token with this key, and reads it.
pub fn sas(path: &str, key: &str, expiry: u64, rule: &str) {
    let namespace = Namespace { host: "ns.servicebus.windows.net".into(), port: None };
    let entity = Entity::parse(path).ok();
    let key = Secret::new(key);
    let resource = resource(&namespace, entity.as_ref());
    let signed = SasToken::sign(&resource, UnixSeconds(expiry), rule, &key);
    let token = SasToken::parse(signed.text().expose()).expect("a token of ours can be read");
    assert!(token.is_signed_by(&key));
    assert!(!token.is_signed_by(&Secret::new(format!("{}x", key.expose()))));
    assert_eq!(
        (token.expiry(), token.rule()),
        (UnixSeconds(expiry), Some(rule).filter(|rule| !rule.is_empty()))
    );
    let path = entity.map_or_else(String::new, |entity| format!("{entity}/"));
    // A percent sign in the path is encoded twice.
    if !path.contains(|c: char| !c.is_ascii_alphanumeric() && c != '/') {
        assert_eq!(token.uri(), format!("http://{}/{path}", namespace.host));
    }
}

/// A token as a client sends it.
pub fn sas_text(text: &str) {
    if let Ok(token) = SasToken::parse(text) {
        assert_eq!(token.text().expose(), text);
        let key = Secret::new("the key of nobody");
        assert!(!token.is_signed_by(&key), "a token without its key");
    }
}

/// A control message.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Accept { address: String, id: String, remote: Option<String>, header: Option<String> },
    Request { id: Option<String>, address: Option<String> },
    Other,
    Malformed,
}

/// Reads a control message, and the header of this name of the sender's request.
pub fn control(text: &str, header: &str) -> Message {
    match Control::parse(text) {
        Ok(Control::Accept(accept)) => {
            let shown = format!("{accept:?}");
            let address = accept.address.expose();
            assert!(
                address.len() < 32 || accept.id.contains(address) || !shown.contains(address),
                "the address is shown"
            );
            Message::Accept {
                address: address.into(),
                id: accept.id.clone(),
                remote: accept.remote.clone(),
                header: accept.header(header),
            }
        }
        Ok(Control::Request(request)) => {
            if let Some(id) = &request.id {
                let answer = proto::not_implemented(id);
                let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
                assert_eq!(answer["response"]["requestId"], *id);
            }
            Message::Request {
                id: request.id,
                address: request.address.map(|address| address.expose().to_owned()),
            }
        }
        Ok(Control::Other(_)) => Message::Other,
        Err(problem) => {
            assert!(problem.0.len() < 60, "the problem is no text of ours");
            Message::Malformed
        }
    }
}

/// The address of a rendezvous: its host, port and path, if a listener at this namespace may dial it.
pub fn rendezvous(address: &str, namespace: &str, others: &[&str]) -> Option<(String, u16, String)> {
    let namespace = Namespace::parse(namespace, "relay").ok()?;
    let others: Vec<String> = others.iter().map(|other| (*other).to_owned()).collect();
    match proto::rendezvous(address, &namespace, &others) {
        Ok(url) => {
            let rejected = rejection(&url, 403, address);
            assert_eq!(rejected.endpoint, url.endpoint);
            assert!(rejected.path.starts_with(&url.path) && rejected.path.len() <= url.path.len() + 4 * 1024);
            let WssUrl { endpoint, path } = url;
            Some((endpoint.host, endpoint.port, path))
        }
        Err(problem) => {
            let secret = address.split_once('?').map_or("", |(_, query)| query);
            // A token has a `=`, which no text of a problem has.
            assert!(
                secret.len() < 16 || !secret.contains('=') || !problem.0.contains(secret),
                "the problem shows the query: {problem}"
            );
            None
        }
    }
}

/// The refusal of a sender.
pub fn refusal(status: u16, reason: &str) {
    let cause = Cause::of(status, reason);
    assert_eq!(Cause::of(status, &reason.to_owned()), cause);
    assert!(cause != Cause::Foreign || !is_usual(status, reason));
}

/// The path of a hybrid connection, and a template of such paths.
pub fn entity(path: &str, template: &str, device: &str) {
    if let Ok(entity) = Entity::parse(path) {
        assert_eq!(Entity::parse(&entity.to_string()).ok().as_ref(), Some(&entity));
        assert_eq!(entity.suffix_in(&entity.encoded()).as_deref(), Some(""));
        assert_eq!(entity.suffix_in(&format!("{}/x", entity.encoded())).as_deref(), Some("x"));
        assert!(!entity.encoded().contains(['?', '#', ' ', '%']) || entity.encoded().contains('%'));
        assert!(!entity.last().is_empty());
    }
    if let Ok(template) = Template::parse(template)
        && let Ok(entity) = template.entity(device)
        && let Some(found) = template.device(&entity.to_string())
        // A placeholder that stands in it twice stands for the same text twice.
        && !template.is_shared()
    {
        assert!(!found.is_empty() && !found.contains('/'));
    }
}

/// A page of Azure Resource Manager's list: the path of the next one, which is on the same server.
pub fn page(body: &[u8]) {
    let Ok(page) = Page::parse(body) else { return };
    for connection in &page.value {
        assert!(!connection.path().contains('~'));
        let _ = connection.has_listener();
    }
    if let Ok(Some(next)) = page.next_path("management.azure.com") {
        assert!(next.starts_with('/'), "{next}");
    }
}

/// A namespace.
pub fn namespace(text: &str) {
    for namespace in [
        Namespace::parse(text, "relay"),
        Namespace::named(text, "relay", "servicebus.windows.net"),
        Namespace::endpoint_of(text),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(Namespace::parse(&namespace.to_string(), "relay").ok().as_ref(), Some(&namespace));
        assert_eq!(Namespace::endpoint_of(&format!("sb://{namespace}/")).ok().as_ref(), Some(&namespace));
        assert_ne!(namespace.server().port, 0);
    }
}

/// Exchanges azbridge's preamble as a sender, or as a listener. Returns the name of the port and what follows on the wire.
pub async fn preamble<S>(io: S, early: &[u8], name: Option<&str>) -> Result<(String, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limit = Duration::from_secs(20);
    let joined = Joined {
        io: Box::new(WithoutTcp(io)),
        early: Bytes::copy_from_slice(early),
        going_away_is_end: true,
    };
    let (name, mut joined) = match name {
        Some(name) => (
            name.to_owned(),
            preamble::propose(joined, name, limit).await.map_err(|refused| refused.to_string())?,
        ),
        None => {
            let proposal = preamble::hear(joined, limit).await.map_err(|refused| refused.to_string())?;
            (proposal.name.clone(), proposal.go().await.map_err(|error| error.to_string())?)
        }
    };
    let mut wire = joined.early.to_vec();
    joined.io.read_to_end(&mut wire).await.map_err(|error| error.to_string())?;
    Ok((name, wire))
}
