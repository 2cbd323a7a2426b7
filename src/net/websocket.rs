//! The client's side of a WebSocket upgrade (RFC 6455, section 4).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::dial::limited;
use super::http::{party, switch};
use super::{Endpoint, Network, Stream, WssUrl};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::time::backoff::retry_after;
use crate::time::phase::{Phase, Phases};

/// How long a server may take to answer an upgrade.
const UPGRADE_LIMIT: Duration = Duration::from_secs(15);

/// An established WebSocket: the connection, and the bytes that came with the answer to the upgrade.
#[derive(Debug)]
pub struct WebSocket<S> {
    pub io: S,
    pub early: Bytes,
    /// The server it is with.
    pub server: Endpoint,
}

/// What an upgrade asks for besides the URL. permessage-deflate is never offered: ssh compresses or encrypts already.
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    /// What it is for, which tells who answers: the hub or the gateway.
    pub phase: Phase,
    /// Goes into `Authorization: Bearer`.
    pub bearer: Option<&'a Secret>,
    pub subprotocol: Option<&'a str>,
}

impl Network {
    /// Joins a stream at its gateway; the token is good for one use [S].
    ///
    /// # Errors
    /// When the gateway cannot be reached or refuses.
    pub async fn join(&self, url: &WssUrl, token: &Secret, phases: &mut Phases) -> Result<WebSocket<Stream>> {
        let stream = self.connect(&url.endpoint, phases).await?;
        join_over(stream, url, token, phases).await
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// When its server cannot be reached or refuses.
    pub async fn open(
        &self,
        url: &WssUrl,
        asked: Upgrade<'_>,
        phases: &mut Phases,
    ) -> Result<WebSocket<Stream>> {
        let stream = self.connect(&url.endpoint, phases).await?;
        limited(asked.phase, &url.endpoint, phases, UPGRADE_LIMIT, upgrade(stream, url, asked)).await
    }
}

/// Joins a stream over a connection to its gateway.
///
/// # Errors
/// When the gateway refuses, or has closed the connection.
pub async fn join_over(
    stream: Stream,
    url: &WssUrl,
    token: &Secret,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    let asked = Upgrade { phase: Phase::Gateway, bearer: Some(token), subprotocol: None };
    limited(asked.phase, &url.endpoint, phases, UPGRADE_LIMIT, upgrade(stream, url, asked)).await
}

/// Upgrades a connection to `url.endpoint`.
///
/// Not cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// [`Error::Upgrade`] when the server answers anything but 101, [`Error::Protocol`] when its 101 is not right.
async fn upgrade<S>(io: S, url: &WssUrl, asked: Upgrade<'_>) -> Result<WebSocket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let target = &url.endpoint;
    let key = generate_key();
    let request = request(url, &key, &asked)?;
    let (io, early) =
        switch(io, asked.phase, target, request, |response| check(response, target, &key, &asked)).await?;
    Ok(WebSocket { io, early, server: target.clone() })
}

fn request(url: &WssUrl, key: &str, asked: &Upgrade<'_>) -> Result<Request<Empty<Bytes>>> {
    let unusable = |_| Error::Protocol {
        target: party(asked.phase, &url.endpoint),
        problem: "it names a URL or a token that cannot be put into a request".into(),
    };
    let mut request = Request::get(&url.path)
        .header(HOST, url.endpoint.authority())
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_VERSION, "13");
    if let Some(subprotocol) = asked.subprotocol {
        request = request.header(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    if let Some(token) = asked.bearer {
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut bearer = bearer.map_err(|error| unusable(error.into()))?;
        bearer.set_sensitive(true);
        request = request.header(hyper::header::AUTHORIZATION, bearer);
    }
    request.body(Empty::new()).map_err(unusable)
}

/// Whether the answer is the 101 that belongs to this request.
fn check<B>(response: &hyper::Response<B>, target: &Endpoint, key: &str, asked: &Upgrade<'_>) -> Result<()> {
    let headers = response.headers();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Upgrade {
            phase: asked.phase,
            target: target.to_string(),
            status: response.status().as_u16(),
            retry_after: retry_after(headers),
        });
    }
    let problem = if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade")
    {
        "its answer to the upgrade is not one to a WebSocket"
    } else if headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes)
        != Some(derive_accept_key(key.as_bytes()).as_bytes())
    {
        "its answer to the upgrade is not one to our key"
    } else if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        "it uses an extension that was not offered"
    } else if let Some(chosen) = headers.get(SEC_WEBSOCKET_PROTOCOL)
        && !asked
            .subprotocol
            .is_some_and(|offered| chosen.as_bytes().eq_ignore_ascii_case(offered.as_bytes()))
    {
        "it uses a subprotocol that was not offered"
    } else {
        return Ok(());
    };
    Err(Error::Protocol { target: party(asked.phase, target), problem: problem.into() })
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// Upgrades against a server that reads the request and answers `answer`, with `{accept}` filled in.
    async fn upgraded(
        answer: &str,
        subprotocol: Option<&str>,
    ) -> (String, Result<WebSocket<tokio::io::DuplexStream>>) {
        let (client, mut server) = duplex(4096);
        let url = WssUrl::parse("wss://gateway:8443/bridges/x?y=z").unwrap();
        let token = Secret::new("eyJ0eX");
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
        let asked = Upgrade { phase: Phase::Gateway, bearer: Some(&token), subprotocol };
        let ask = upgrade(client, &url, asked);
        tokio::join!(serve, ask)
    }

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

    #[tokio::test]
    async fn asks_as_reference_clients_do_and_keeps_early_bytes() {
        let (request, websocket) = upgraded(&format!("{GOOD}\u{2}early"), None).await;
        assert!(request.starts_with("GET /bridges/x?y=z HTTP/1.1\r\nHost: gateway:8443\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer eyJ0eX\r\n"), "{request}");
        assert!(!request.to_lowercase().contains("extensions"), "{request}");
        let WebSocket { mut io, early, .. } = websocket.unwrap();
        let mut all = early.to_vec();
        io.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"\x02early");
    }

    #[tokio::test]
    async fn refusals_carry_their_status() {
        for status in [200, 401, 404, 500] {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nRetry-After: 7\r\n\r\n");
            let (_, result) = upgraded(&answer, None).await;
            let after = Some(Duration::from_secs(7));
            assert!(
                matches!(result, Err(Error::Upgrade { phase: Phase::Gateway, status: s, retry_after, .. }) if s == status && retry_after == after),
                "{result:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_101_is_not_taken() {
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
        assert!(result.is_ok(), "{result:?}");
        let (_, result) = upgraded("SSH-2.0-OpenSSH_9.2\r\n", None).await;
        let said = result.unwrap_err().to_string();
        assert!(said.starts_with("the gateway gateway:8443 broke the protocol"), "{said}");
        let (_, result) = upgraded("", None).await;
        let said = result.unwrap_err().to_string();
        assert_eq!(said, "gateway: gateway:8443: it closed the connection without an answer");
    }
}
