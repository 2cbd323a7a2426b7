//! MQTT over WebSocket: the upgrade of the HTTPS port.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use hyper::{Request, StatusCode};

use super::serve::Mqtt;
use super::service::Peer;
use crate::backend::iothub::proto::{WEBSOCKET_PATH, WEBSOCKET_SUBPROTOCOL};
use crate::emulator::faults::Faults;
use crate::emulator::server::{Answering, Client, Reply, Service, empty};
use crate::emulator::websocket::byte_stream;
use crate::emulator::websocket::handshake::{self, Refused, tokens};

/// MQTT on the HTTPS port.
#[derive(Debug)]
pub(in crate::emulator) struct WebSocket {
    pub(in crate::emulator) mqtt: Mqtt,
    /// It is at `/` too, where the C# client of the Device Provisioning Service looks for it \[C].
    pub(in crate::emulator) serves_root: bool,
    pub(in crate::emulator) faults: Arc<Faults>,
}

impl Service for WebSocket {
    fn serves(&self, path: &str) -> bool {
        path == WEBSOCKET_PATH || (self.serves_root && path == "/")
    }

    fn answer(self: Arc<Self>, request: Request<Incoming>, client: Client) -> Answering {
        Box::pin(async move {
            self.upgrade(&request, client).unwrap_or_else(|refused| {
                let path = request.uri().path();
                log::info!("the upgrade of {path} is refused with {}: {}", refused.status, refused.why);
                refused.answer().into()
            })
        })
    }
}

impl WebSocket {
    /// Answers an opening handshake, and serves MQTT over the WebSocket.
    ///
    /// # Errors
    /// The request is not an opening handshake, or offers another subprotocol alone.
    fn upgrade(&self, request: &Request<Incoming>, client: Client) -> Result<Reply, Refused> {
        if let Some(status) = self.faults.mqtt.take() {
            let mut answer = empty(status);
            if let Some(seconds) = self.faults.retry_after {
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            return Ok(answer.into());
        }
        let mut answer = handshake::accept(request)?;
        let subprotocol =
            subprotocol(request.headers()).map_err(|why| Refused { status: StatusCode::BAD_REQUEST, why })?;
        if let Some(subprotocol) = subprotocol {
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        let (mqtt, peer) =
            (self.mqtt.clone(), Peer { authority: client.authority, certificate: client.certificate });
        Ok(Reply::upgrade(answer, move |io| byte_stream::serve(io, move |bytes| mqtt.serve(bytes, peer))))
    }
}

/// The subprotocol to answer with: `mqtt` as the client wrote it, because clients compare the answer with their offer
/// \[S]; none where none was offered. The error says why, when only others were offered.
fn subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, &'static str> {
    let mut offered = tokens(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    let ours = offered.find(|name| name.eq_ignore_ascii_case(WEBSOCKET_SUBPROTOCOL));
    // Some clients offer AMQP here [S]: a refusal is clearer than a stream of foreign bytes.
    ours.and_then(|name| HeaderValue::from_str(name).ok()).map(Some).ok_or_else(|| {
        let amqp = |name: &str| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("amqp"));
        if tokens(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).any(amqp) {
            "The client offers AMQP over WebSocket, which the emulator does not speak: use MQTT over WebSocket."
        } else {
            "The client offers no subprotocol that the emulator speaks: it is mqtt."
        }
    })
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
            match (subprotocol(&offered(values)), answer) {
                (Ok(found), Ok(answer)) => {
                    assert_eq!(found, answer.map(HeaderValue::from_static), "{values:?}");
                }
                (Err(problem), Err(words)) => assert!(problem.contains(words), "{values:?} {problem}"),
                (found, _) => panic!("{values:?} {found:?}"),
            }
        }
    }
}
