//! The client's side of a WebSocket upgrade (RFC 6455, section 4).

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::http::{date, party, switch};
use super::{Endpoint, Network, Stream, WssUrl};
use crate::error::{Error, Result};
use crate::time::phase::{Phase, Phases};

/// An established WebSocket.
#[derive(Debug)]
pub struct WebSocket<S> {
    /// The connection.
    pub io: S,
    /// The bytes that arrived behind the upgrade's response.
    pub early: Bytes,
    /// The server.
    pub server: Endpoint,
    /// The server's time, if its response has a date.
    pub date: Option<SystemTime>,
}

/// The request of an upgrade, besides the URL. It never offers permessage-deflate: ssh's bytes are encrypted and do not
/// compress.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The phase it is recorded as, which also names the server in errors.
    pub phase: Phase,
    /// Additional headers, including an offered subprotocol.
    pub headers: HeaderMap,
    /// How long the server may take to answer.
    pub limit: Duration,
}

impl Upgrade {
    /// The limit of an upgrade that only the server decides.
    pub(crate) const LIMIT: Duration = Duration::from_secs(15);
}

/// A response other than 101 to an upgrade.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The server.
    pub server: Endpoint,
    /// The status code.
    pub status: u16,
    /// The reason phrase of the status line as the server wrote it.
    pub reason: String,
    /// The headers.
    pub headers: HeaderMap,
}

/// A WebSocket, or the server's refusal.
pub(crate) type Opened<S> = std::result::Result<WebSocket<S>, Refusal>;

impl Network {
    /// Connects to the server of `url` and opens a WebSocket.
    ///
    /// Not cancel-safe: dropping the future drops the connection.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached or breaks the protocol. A refusal is not an error.
    pub async fn open(&self, url: &WssUrl, asked: &Upgrade, phases: &mut Phases) -> Result<Opened<Stream>> {
        let stream = self.connect(&url.endpoint, phases).await?;
        open_over(stream, url, asked, phases).await
    }
}

/// Opens a WebSocket over a connection to its server.
///
/// Not cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns an error if the server breaks the protocol, closes the connection or does not answer in time. A refusal is
/// not an error.
pub(crate) async fn open_over(
    stream: Stream,
    url: &WssUrl,
    asked: &Upgrade,
    phases: &mut Phases,
) -> Result<Opened<Stream>> {
    let since = Instant::now();
    let upgrading = timeout(asked.limit, upgrade(stream, url, asked)).await;
    let opened = upgrading.map_err(|_| Error::timeout(asked.phase, &url.endpoint, asked.limit))??;
    if opened.is_ok() {
        phases.done(asked.phase, &url.endpoint, since);
    }
    Ok(opened)
}

/// Upgrades a connection to `url.endpoint`.
///
/// # Errors
/// Returns [`Error::Protocol`] if the server's 101 is invalid, and [`Error::Network`] without a response.
pub(super) async fn upgrade<S>(io: S, url: &WssUrl, asked: &Upgrade) -> Result<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let server = &url.endpoint;
    let key = generate_key();
    let (mut refusal, mut server_time) = (None, None);
    let check = |response: &hyper::Response<Incoming>| {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            server_time = date(response.headers());
            return check(response.headers(), &key, asked)
                .map_err(|problem| Error::protocol(party(asked.phase, server), problem));
        }
        refusal = Some(Refusal::of(server, response));
        Err(Error::Bug("a refusal is not a switch".into()))
    };
    let switched = switch(io, asked.phase, server, request(url, &key, asked)?, check).await;
    if let Some(refusal) = refusal {
        return Ok(Err(refusal));
    }
    let (io, early) = switched?;
    Ok(Ok(WebSocket { io, early, server: server.clone(), date: server_time }))
}

impl Refusal {
    /// The server's time, from the `Date` header.
    pub(crate) fn date(&self) -> Option<SystemTime> {
        date(&self.headers)
    }

    fn of<B>(server: &Endpoint, response: &hyper::Response<B>) -> Self {
        let status = response.status();
        // hyper keeps only a phrase that differs from the status's usual one.
        let phrase = response.extensions().get::<ReasonPhrase>();
        let phrase = phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
        Self {
            server: server.clone(),
            status: status.as_u16(),
            reason: phrase.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned()),
            headers: response.headers().clone(),
        }
    }
}

fn request(url: &WssUrl, key: &str, asked: &Upgrade) -> Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(&url.path)
        .header(HOST, url.endpoint.authority())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_VERSION, "13");
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    request
        .body(Empty::new())
        .map_err(|_| Error::protocol(party(asked.phase, &url.endpoint), "its URL is invalid"))
}

/// Checks that a 101 accepts this request.
fn check(headers: &HeaderMap, key: &str, asked: &Upgrade) -> std::result::Result<(), &'static str> {
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        Err("its answer does not upgrade to a WebSocket")
    } else if headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes)
        != Some(derive_accept_key(key.as_bytes()).as_bytes())
    {
        Err("its answer does not match the key of the request")
    } else if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        Err("it uses an extension that was not offered")
    } else if let Some(chosen) = headers.get(SEC_WEBSOCKET_PROTOCOL)
        && !asked
            .headers
            .get(SEC_WEBSOCKET_PROTOCOL)
            .is_some_and(|offered| chosen.as_bytes().eq_ignore_ascii_case(offered.as_bytes()))
    {
        Err("it uses a subprotocol that was not offered")
    } else {
        Ok(())
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::AUTHORIZATION;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// Upgrades against a server that sends `answer` with `{accept}` filled in. Returns the request and the result.
    async fn upgraded(
        answer: &str,
        subprotocol: Option<&'static str>,
    ) -> (String, Result<Opened<tokio::io::DuplexStream>>) {
        let (client, mut server) = duplex(4096);
        let url = WssUrl::parse("wss://gateway:8443/bridges/x?y=z").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer eyJ0eX"));
        if let Some(subprotocol) = subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        let serve = async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(server.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-Websocket-Key: "));
            let accept = derive_accept_key(key.unwrap().as_bytes());
            server.write_all(answer.replace("{accept}", &accept).as_bytes()).await.unwrap();
            request
        };
        let asked = Upgrade { phase: Phase::named("gateway"), headers, limit: Upgrade::LIMIT };
        let ask = upgrade(client, &url, &asked);
        tokio::join!(serve, ask)
    }

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

    #[tokio::test]
    async fn sends_the_reference_clients_request_and_keeps_early_bytes() {
        let (request, websocket) = upgraded(&format!("{GOOD}\u{2}early"), None).await;
        assert!(request.starts_with("GET /bridges/x?y=z HTTP/1.1\r\nHost: gateway:8443\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer eyJ0eX\r\n"), "{request}");
        assert!(!request.to_lowercase().contains("extensions"), "{request}");
        let WebSocket { mut io, early, .. } = websocket.unwrap().unwrap();
        let mut all = early.to_vec();
        io.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"\x02early");
    }

    #[tokio::test]
    async fn a_refusal_keeps_status_reason_phrase_and_headers() {
        for (line, status, reason) in [
            ("200 OK", 200, "OK"),
            ("401 ", 401, ""),
            ("404 Endpoint does not exist. TrackingId:1_G2", 404, "Endpoint does not exist. TrackingId:1_G2"),
            ("500 Internal Server Error", 500, "Internal Server Error"),
        ] {
            let answer = format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nRetry-After: 7\r\n\r\n");
            let (_, opened) = upgraded(&answer, None).await;
            let refusal = opened.unwrap().unwrap_err();
            assert_eq!((refusal.status, &*refusal.reason), (status, reason));
            assert_eq!(refusal.headers["retry-after"], "7");
        }
    }

    #[tokio::test]
    async fn an_invalid_101_is_an_error() {
        let with = |line: &str| GOOD.replacen("\r\n", &format!("\r\n{line}\r\n"), 1);
        for answer in [
            GOOD.replace("{accept}", "AAAA"),
            GOOD.replace("Upgrade: WebSocket\r\n", ""),
            GOOD.replace("keep-alive, Upgrade", "close"),
            with("Sec-WebSocket-Extensions: permessage-deflate"),
            with("Sec-WebSocket-Protocol: mqtt"),
        ] {
            let (_, result) = upgraded(&answer, None).await;
            assert!(result.is_err(), "{answer}");
        }
        let (_, result) = upgraded(&with("Sec-WebSocket-Protocol: MQTT"), Some("mqtt")).await;
        assert!(result.is_ok_and(|opened| opened.is_ok()));
        let (_, result) = upgraded("SSH-2.0-OpenSSH_9.2\r\n", None).await;
        let said = result.unwrap_err().to_string();
        assert!(said.starts_with("the gateway gateway:8443 broke the protocol"), "{said}");
        let (_, result) = upgraded("", None).await;
        let said = result.unwrap_err().to_string();
        assert_eq!(said, "gateway: gateway:8443: it closed the connection without an answer");
    }
}
