//! What fuzzing runs of this room: answers of servers and proxies, URLs and certificates.

use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::{HeaderMap, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::http::Reply;
use super::socks::Login;
use super::{Endpoint, Proxies, Upgrade, WebSocket, WssUrl, facts, http, pem, proxy, socks, websocket};
use crate::secret::Secret;
use crate::time::phase::Phase;

/// A password, which no error may contain.
pub const PASSWORD: &str = "c4n4ry-p4ssw0rd";

/// A connection in memory.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

fn server() -> Endpoint {
    Endpoint::new("hub.example", 443)
}

/// One HTTP exchange: the status and the body.
pub async fn exchange(io: impl Io, limit: usize) -> Result<(u16, Vec<u8>), String> {
    let request = Request::get("/").body(Full::new(Bytes::new())).expect("a request");
    let reply = http::exchange(io, Phase::PROXY, &"hub.example", request, limit).await.map_err(shown)?;
    let Reply { status, body, .. } = &reply;
    assert!(body.len() <= limit, "the body is longer than the limit");
    let _ = reply.date();
    Ok((*status, body.to_vec()))
}

/// What an upgrade ends with.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgraded<S> {
    /// The connection, and the bytes behind the response.
    Open(S, Vec<u8>),
    /// The status and the reason.
    Refused(u16, String),
    Failed(String),
}

/// Asks for an upgrade that offers a subprotocol.
pub async fn upgrade<S: Io>(io: S) -> Upgraded<S> {
    let url = WssUrl { endpoint: server(), path: "/path".into() };
    let headers = HeaderMap::from_iter([(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"))]);
    let asked = Upgrade { phase: Phase::PROXY, headers, limit: Duration::from_secs(15) };
    match websocket::upgrade(io, &url, &asked).await {
        Ok(Ok(WebSocket { io, early, .. })) => Upgraded::Open(io, early.to_vec()),
        Ok(Err(refusal)) => {
            let _ = refusal.date();
            Upgraded::Refused(refusal.status, refusal.reason)
        }
        Err(error) => Upgraded::Failed(shown(error)),
    }
}

/// Asks an HTTP proxy for a connection, with a password or without.
pub async fn http_proxy<S: Io>(io: S, has_login: bool) -> Result<S, String> {
    let authorization = has_login.then(|| HeaderValue::from_static(PASSWORD));
    proxy::tunnel(io, &Endpoint::new("proxy.example", 3128), authorization.as_ref(), &server())
        .await
        .map_err(shown)
}

/// Asks a SOCKS proxy for a connection, with a password or without.
pub async fn socks_proxy<S: Io>(io: S, has_login: bool) -> Result<S, String> {
    let login = has_login.then(|| Login { user: "me".into(), password: Secret::new(PASSWORD) });
    let connected = socks::connect(io, login.as_ref(), &server()).await;
    connected.map_err(|refusal| {
        let text = format!("{refusal:?}");
        assert!(!text.contains(PASSWORD), "the password is shown: {text}");
        text
    })
}

/// An error with its hint.
fn shown(error: crate::error::Error) -> String {
    let text = format!("{error}\n{}", error.hint().unwrap_or_default());
    assert!(
        !text.contains(PASSWORD) && !format!("{error:?}").contains(PASSWORD),
        "the password is shown: {text}"
    );
    text
}

/// The address of a WebSocket: host, port and path.
pub fn wss_url(text: &str) -> Result<(String, u16, String), String> {
    let WssUrl { endpoint, path } = WssUrl::parse(text)?;
    assert!(path.starts_with('/') && endpoint.port != 0 && !endpoint.host.is_empty());
    // What the state directory keeps of it.
    let again = WssUrl::parse(&format!("wss://{endpoint}")).map(|url| url.endpoint);
    assert_eq!(again.as_ref(), Ok(&endpoint));
    assert!(Uri::try_from(path.as_str()).is_ok(), "the path goes into no request");
    Ok((endpoint.host, endpoint.port, path))
}

/// Whether a proxy of this URL applies to a host that these exceptions may name. Errors never contain the URL.
pub fn proxies(url: &str, exceptions: &str, host: &str) {
    match Proxies::new(&Secret::new(url), exceptions) {
        Ok(proxies) => {
            let proxy = proxies.find(&Endpoint::new(host, 443));
            assert_eq!(format!("{proxies:?}"), "Proxies");
            if let Some(proxy) = proxy {
                // A host's name has no `*`, which the matcher takes for the end of an exception.
                assert!(
                    !exceptions.split(',').any(|entry| entry == "*") || host.contains('*'),
                    "{proxy:?} applies to an exception"
                );
            }
        }
        Err(problem) => assert!(problem.len() < 60, "the problem is no text of ours: {problem}"),
    }
}

/// Certificates and keys in a file: their labels and contents. Errors never contain the content.
pub fn sections(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let sections = pem::sections(bytes)?;
    Ok(sections.into_iter().map(|section| (section.label, section.der.to_vec())).collect())
}

/// What a certificate in DER says: the seconds since 1970 of its dates, and its name.
pub fn certificate(der: &[u8]) -> Option<(u64, u64, Option<String>)> {
    let facts = facts(der)?;
    let seconds =
        |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).expect("no date before 1970").as_secs();
    Some((seconds(facts.validity.not_before), seconds(facts.validity.not_after), facts.common_name))
}

/// An endpoint, as text and as the value of a `Host` header.
pub fn endpoint(host: &str, port: u16) -> (String, String) {
    let endpoint = Endpoint::new(host, port);
    let _: &dyn Display = &endpoint;
    (endpoint.to_string(), endpoint.authority())
}
