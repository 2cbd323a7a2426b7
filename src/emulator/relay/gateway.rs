//! The gateway, where listeners meet senders: a port of its own.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::{Request, StatusCode};

use super::namespace::Namespace;
use super::refusal::Refusal;
use super::request::{Action, HybridRequest};
use super::tracking::TrackingId;
use crate::emulator::forward::forward;
use crate::emulator::server::{Answering, Client, Reply, Service, empty};
use crate::emulator::websocket::handshake::{self, tokens};

/// The longest text of a rejection in characters \[C].
const LONGEST: usize = 512;

/// The gateway of a namespace.
#[derive(Debug)]
pub(in crate::emulator) struct Gateway(pub(in crate::emulator) Arc<Namespace>);

impl Service for Gateway {
    fn serves(&self, _: &str) -> bool {
        true
    }

    fn answer(self: Arc<Self>, request: Request<Incoming>, _: Client) -> Answering {
        Box::pin(async move {
            let target = HybridRequest::parse(request.uri());
            let id = TrackingId::new(target.parameter("id"));
            self.meet(&request, &target)
                .unwrap_or_else(|refusal| self.0.refuse(&refusal, &id, &target).into())
        })
    }
}

impl Gateway {
    /// Answers a listener that accepts or rejects a sender. Its address is all that it shows.
    fn meet(&self, request: &Request<Incoming>, target: &HybridRequest) -> Result<Reply, Refusal> {
        let used =
            || Refusal::new(StatusCode::FORBIDDEN, "The URL is invalid, has been used, or has expired");
        if target.action() != Some(Action::Accept) {
            return Err(used());
        }
        let mut answer = handshake::accept(request).map_err(|_| Refusal::no_websocket())?;
        let waiting = target.parameter("key").and_then(|key| self.0.rendezvous.take(key)).ok_or_else(used)?;
        let (code, text) = (target.parameter("statuscode"), target.parameter("statusdescription"));
        if code.is_some() || text.is_some() {
            let code = code.and_then(|code| code.parse().ok()).filter(|code| (200..=599).contains(code));
            let status = code.and_then(|code| StatusCode::from_u16(code).ok());
            let text = text.unwrap_or_default().chars().take(LONGEST).collect();
            waiting.reject(status.unwrap_or(StatusCode::BAD_REQUEST), text);
            return Ok(empty(StatusCode::GONE).into());
        }
        let subprotocol =
            tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL.as_str()).next().map(str::to_owned);
        if let Some(name) = subprotocol.as_deref().and_then(|name| HeaderValue::from_str(name).ok()) {
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        let channel = waiting.accept(subprotocol).ok_or_else(used)?;
        Ok(Reply::upgrade(answer, move |io| async move {
            if let Some((io, linger)) = forward(io, channel).await {
                io.end(linger).await;
            }
        }))
    }
}
