//! The WebSocket opening handshake, and MQTT's byte stream over a WebSocket.

use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::frames::{Broken, Frame, FrameReader, write_close, write_data, write_pong};

/// Between the WebSocket and MQTT.
const BUFFER: usize = 16 << 10;
/// MQTT packets are bounded elsewhere; a frame may hold several.
const MAX_FRAME: usize = 1 << 20;

/// Checks an opening handshake (RFC 6455, 4.2.1).
///
/// # Errors
/// The status to refuse it with.
pub(super) fn accept_key<B>(request: &Request<B>) -> Result<HeaderValue, StatusCode> {
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

/// The headers of the 101 that answers an opening handshake. Extensions are declined by leaving them out [M].
pub(super) fn switching(accept: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
}

/// The subprotocol to answer with: `mqtt` as the client wrote it, for clients compare what they get with what they
/// offered [S], and none where none was offered.
///
/// # Errors
/// Why not, when only others were offered.
pub(super) fn mqtt_subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, &'static str> {
    let mut offered = tokens(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    let ours =
        offered.find(|name| name.eq_ignore_ascii_case(crate::backend::iothub::proto::WEBSOCKET_SUBPROTOCOL));
    // AMQP is offered here too [S], and is not spoken: refusing it is clearer than a stream of foreign bytes.
    ours.and_then(|name| HeaderValue::from_str(name).ok()).map(Some).ok_or_else(|| {
        let amqp = |name: &str| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("amqp"));
        if tokens(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).any(amqp) {
            "The client offers AMQP over WebSocket, which the emulator does not speak: use MQTT over WebSocket."
        } else {
            "The client offers no subprotocol that the emulator speaks: it is mqtt."
        }
    })
}

/// The comma-separated elements of all headers of one name.
fn tokens<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Runs `serve` over the byte stream that a WebSocket carries: packets need not align with frames [D].
pub(super) async fn as_byte_stream<S, F>(io: S, serve: impl FnOnce(DuplexStream) -> F)
where
    S: AsyncRead + AsyncWrite,
    F: Future<Output = ()>,
{
    let (reader, mut writer) = tokio::io::split(io);
    let (near, far) = tokio::io::duplex(BUFFER);
    let (mut from_server, mut to_server) = tokio::io::split(near);
    let pings = watch::Sender::new(None);
    let mut pinged = pings.subscribe();

    let reading = async {
        let mut frames = FrameReader::new(reader, MAX_FRAME);
        loop {
            match frames.next().await {
                Ok(Frame::Data(data)) => {
                    if to_server.write_all(&data).await.is_err() {
                        return CloseCode::Normal;
                    }
                }
                Ok(Frame::Ping(payload)) => drop(pings.send_replace(Some(payload))),
                Ok(Frame::Pong | Frame::EmptyMessage) => {}
                Ok(Frame::Close(_)) => return CloseCode::Normal,
                Err(broken) => {
                    log::info!("mqtt over websocket: a client is cut off: {broken}");
                    return match broken {
                        Broken::Protocol(code, _) => code,
                        Broken::Gone(_) | Broken::Failed(_) => CloseCode::Normal,
                    };
                }
            }
        }
    };
    let writing = async {
        let mut block = vec![0; BUFFER];
        let mut out = Vec::new();
        loop {
            tokio::select! {
                count = from_server.read(&mut block) => match count {
                    Ok(count @ 1..) => write_data(&block[..count], &mut out),
                    _ => return CloseCode::Normal,
                },
                Ok(()) = pinged.changed() => {
                    if let Some(payload) = pinged.borrow_and_update().clone() {
                        write_pong(&payload, &mut out);
                    }
                }
            }
            if writer.write_all(&out).await.is_err() || writer.flush().await.is_err() {
                return CloseCode::Normal;
            }
            out.clear();
        }
    };
    let serving = serve(far);
    let code = {
        tokio::pin!(reading, writing, serving);
        tokio::select! {
            code = &mut reading => code,
            code = &mut writing => code,
            // What the server wrote last is still on its way: a refusal, say.
            () = &mut serving => writing.await,
        }
    };
    let mut close = Vec::new();
    write_close(code, "", &mut close);
    let _ = writer.write_all(&close).await;
    let _ = writer.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value)));
        values.collect()
    }

    #[test]
    fn a_subprotocol_is_answered_as_it_was_offered() {
        for (values, answer) in [
            (&["mqtt"][..], Ok(Some("mqtt"))),
            (&["MQTT"], Ok(Some("MQTT"))),
            (&["AMQPWSB10, Mqtt"], Ok(Some("Mqtt"))),
            (&["AMQPWSB10", "mqtt"], Ok(Some("mqtt"))),
            (&[], Ok(None)),
            (&[""], Ok(None)),
            (&["AMQPWSB10"], Err("AMQP over WebSocket")),
            (&["amqp", "x"], Err("AMQP over WebSocket")),
            (&["other", "x"], Err("no subprotocol")),
        ] {
            match (mqtt_subprotocol(&offered(values)), answer) {
                (Ok(found), Ok(answer)) => {
                    assert_eq!(found, answer.map(HeaderValue::from_static), "{values:?}");
                }
                (Err(problem), Err(words)) => assert!(problem.contains(words), "{values:?} {problem}"),
                (found, _) => panic!("{values:?} {found:?}"),
            }
        }
    }

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
