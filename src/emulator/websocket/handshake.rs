//! The opening handshake of a WebSocket (RFC 6455, 4.2).

use http_body_util::Full;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::emulator::server::{Answer, empty};

/// Why a connection does not become a WebSocket.
#[derive(Debug)]
pub(in crate::emulator) struct Refused {
    pub(in crate::emulator) status: StatusCode,
    pub(in crate::emulator) why: &'static str,
}

impl Refused {
    /// The answer for the client.
    pub(in crate::emulator) fn answer(&self) -> Answer {
        let mut answer = Response::new(Full::from(self.why));
        *answer.status_mut() = self.status;
        if self.status == StatusCode::UPGRADE_REQUIRED {
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        answer
    }
}

/// The 101 for an opening handshake. It declines extensions by leaving them out \[M].
///
/// # Errors
/// The request is not an opening handshake.
pub(in crate::emulator) fn accept<B>(request: &Request<B>) -> Result<Answer, Refused> {
    let key = accept_key(request).map_err(|status| Refused {
        status,
        why: "The request is not an opening handshake of a WebSocket.",
    })?;
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    Ok(answer)
}

/// Checks an opening handshake, and derives the key of the answer. The error is the status to refuse it with.
fn accept_key<B>(request: &Request<B>) -> Result<HeaderValue, StatusCode> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !tokens(headers, UPGRADE.as_str()).any(|token| token.eq_ignore_ascii_case("websocket"))
        || !tokens(headers, CONNECTION.as_str()).any(|token| token.eq_ignore_ascii_case("upgrade"))
    {
        return Err(StatusCode::BAD_REQUEST);
    }
    if !tokens(headers, SEC_WEBSOCKET_VERSION.as_str()).any(|version| version == "13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(StatusCode::BAD_REQUEST)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| StatusCode::BAD_REQUEST)
}

/// The comma-separated elements of all headers called `name`.
pub(in crate::emulator) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_handshake_is_checked() {
        // RFC 6455, 1.3.
        let request = || {
            Request::get("/")
                .header(UPGRADE, "WebSocket")
                .header(CONNECTION, "keep-alive, Upgrade")
                .header(SEC_WEBSOCKET_VERSION, "13")
                .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
                .body(())
                .unwrap()
        };
        assert_eq!(accept_key(&request()).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (name, status) in [
            (UPGRADE, StatusCode::BAD_REQUEST),
            (CONNECTION, StatusCode::BAD_REQUEST),
            (SEC_WEBSOCKET_VERSION, StatusCode::UPGRADE_REQUIRED),
            (SEC_WEBSOCKET_KEY, StatusCode::BAD_REQUEST),
        ] {
            let mut without = request();
            without.headers_mut().remove(&name);
            assert_eq!(accept_key(&without).unwrap_err(), status, "{name}");
        }
    }
}
