//! A sender connects: it is announced to a listener, and gets its answer once that has decided.

use std::future::pending;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::{HeaderMap, Request, StatusCode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::authorization::{Grant, Scope};
use super::faults::{AddressFault, Allowed, Phrases, RequestFault};
use super::hybrid_connection::HybridConnection;
use super::listeners::{Choice, NoListener};
use super::messages;
use super::namespace::Namespace;
use super::refusal::{Refusal, set_reason};
use super::rendezvous::Outcome;
use super::request::HybridRequest;
use super::rules::Right;
use super::tracking::TrackingId;
use crate::backend::relay::proto::encode;
use crate::backend::relay::proto::header::{ALLOWED_LISTENERS, DISALLOWED_LISTENERS, TOKEN};
use crate::emulator::forward::{Rules, Settings, forward};
use crate::emulator::server::{Client, Reply, empty};
use crate::emulator::websocket::frames::Size;
use crate::emulator::websocket::handshake::{self, tokens};

/// The largest message that a listener is sent: .NET's client hangs on a larger one \[C].
const MAX_MESSAGE: usize = 64 << 10;
/// Larger messages are passed on in fragments.
const MAX_FRAGMENT: usize = 64 << 10;

impl Namespace {
    /// Answers a sender. Cancel-safe: dropping the future makes the address of the rendezvous invalid.
    ///
    /// # Errors
    /// Why the sender may not connect, or does not get through.
    pub(super) async fn connect(
        &self,
        request: &Request<Incoming>,
        target: &HybridRequest,
        id: &TrackingId,
        client: &Client,
    ) -> Result<Reply, Refusal> {
        let faults = &self.faults.relay;
        match faults.connect.take() {
            None => {}
            Some(RequestFault::Status(StatusCode::NOT_FOUND)) => {
                return Err(self.no_listener(NoListener::Connected));
            }
            Some(RequestFault::Status(status)) => return Err(Refusal::new(status, "On request")),
            Some(RequestFault::Silent) => pending().await,
            Some(RequestFault::Drop) => return Ok(Reply::Drop),
        }
        let connection = self.find(&target.path)?;
        let grant = self.authorize_sender(connection, request, target)?;
        let mut answer = handshake::accept(request).map_err(|_| Refusal::no_websocket())?;
        if let Some(delay) = faults.delay.take() {
            sleep(delay).await;
        }
        let mut wait = self.rendezvous.wait(&id.of_stream(), self.stream_settings(&grant));
        // Faults are for senders that reach a listener.
        let choice = self.choice(request.headers());
        connection.listeners.choose(&choice).map_err(|none| self.no_listener(none))?;
        let fault = faults.address.take();
        let mut headers = client.head.headers(request);
        // Whether the service removes it is known for the HTTP mode alone.
        headers.retain(|(name, _)| faults.keeps_token || !name.eq_ignore_ascii_case(TOKEN));
        let message = messages::accept(
            messages::Sender {
                address: &self.address_of(target, id, &wait.key, fault),
                id: &id.of_stream(),
                headers,
                endpoint: client.address,
            },
            faults.headers.take(),
        );
        if message.len() > MAX_MESSAGE {
            let text = "The request headers are too large";
            return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
        }
        sleep(self.faults.latency).await;
        let times = if fault == Some(AddressFault::Reused) { 2 } else { 1 };
        for _ in 0..times {
            self.announce(connection, &choice, &message)?;
        }
        match timeout(faults.timeout, &mut wait.outcome).await {
            Ok(Ok(Outcome::Accepted(channel, subprotocol))) => {
                let mut offered = tokens(request.headers(), SEC_WEBSOCKET_PROTOCOL.as_str());
                let subprotocol = subprotocol.filter(|name| offered.any(|offered| offered == name));
                if let Some(name) = subprotocol.and_then(|name| HeaderValue::from_str(&name).ok()) {
                    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
                }
                Ok(Reply::upgrade(answer, move |io| async move {
                    if let Some((io, linger)) = forward(io, channel).await {
                        io.end(linger).await;
                    }
                }))
            }
            Ok(Ok(Outcome::Rejected(status, text))) => {
                let mut answer = empty(status);
                set_reason(&mut answer, &text);
                Ok(answer.into())
            }
            Ok(Err(_)) | Err(_) => {
                Err(Refusal::new(faults.late, "The listener did not respond within the required time"))
            }
        }
    }

    /// Checks the token of a sender's request, unless the hybrid connection takes senders without one.
    ///
    /// # Errors
    /// Why the sender may not connect.
    pub(super) fn authorize_sender(
        &self,
        connection: &HybridConnection,
        request: &Request<Incoming>,
        target: &HybridRequest,
    ) -> Result<Grant, Refusal> {
        if connection.is_anonymous {
            return Ok(Grant::default());
        }
        let token = token_of(request, target);
        self.authorize(connection, &target.path, token.as_deref(), Right::Send, Scope::This)
    }

    /// Sends `message` to a listener that meets `choice`.
    ///
    /// # Errors
    /// There is none.
    fn announce(&self, connection: &HybridConnection, choice: &Choice, message: &str) -> Result<(), Refusal> {
        loop {
            let listener = connection.listeners.choose(choice).map_err(|none| self.no_listener(none))?;
            match listener.try_send(message.to_owned()) {
                // One that does not read is not known to be gone.
                Ok(()) | Err(TrySendError::Full(_)) => return Ok(()),
                Err(TrySendError::Closed(_)) => {}
            }
        }
    }

    fn no_listener(&self, none: NoListener) -> Refusal {
        let text = match none {
            NoListener::Chosen => {
                "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria"
            }
            NoListener::Connected if self.faults.relay.phrases == Phrases::Same => "Endpoint does not exist",
            // The service's words are not known.
            NoListener::Connected => "No listener is connected",
        };
        Refusal::new(StatusCode::NOT_FOUND, text)
    }

    /// Which listeners a sender's headers choose.
    fn choice(&self, headers: &HeaderMap) -> Choice {
        let ids = |name| tokens(headers, name).map(str::to_owned).collect();
        match self.faults.relay.allowed {
            Allowed::Followed => Choice {
                allowed: headers.contains_key(ALLOWED_LISTENERS).then(|| ids(ALLOWED_LISTENERS)),
                disallowed: ids(DISALLOWED_LISTENERS),
            },
            Allowed::Ignored => Choice::default(),
            Allowed::Refused => Choice {
                allowed: headers.contains_key(ALLOWED_LISTENERS).then(Vec::new),
                ..Choice::default()
            },
        }
    }

    /// The address at which the listener meets the sender: the sender's own path and query, on another host and port
    /// than the namespace's \[D].
    fn address_of(
        &self,
        target: &HybridRequest,
        id: &TrackingId,
        key: &str,
        fault: Option<AddressFault>,
    ) -> String {
        let faults = &self.faults.relay;
        let scheme = if fault == Some(AddressFault::Plain) { "ws" } else { "wss" };
        let gateway = match fault {
            Some(AddressFault::Host) => {
                format!("gateway.invalid:{}", self.address.gateway.port.unwrap_or(443))
            }
            _ => self.address.gateway.to_string(),
        };
        let path = if faults.encodes_slashes { target.path.replace('/', "%2F") } else { target.path.clone() };
        let token = target
            .parameter("token")
            .filter(|_| faults.keeps_token)
            .map_or_else(String::new, |token| format!("sb-hc-token={}&", encode(token)));
        let query = target.own_query();
        let id = id.of_stream();
        let id = encode(&id);
        format!(
            "{scheme}://{gateway}/$hc/{path}?{query}{token}sb-hc-action=accept&sb-hc-id={id}&sb-hc-key={key}"
        )
    }

    /// The settings of a stream that a sender with this grant opens.
    fn stream_settings(&self, grant: &Grant) -> Settings {
        let faults = &self.faults.relay;
        let expiry = self.deadline(grant.expiry).filter(|_| faults.sessions_expire);
        let rules = Rules {
            size: Size::InParts(MAX_FRAGMENT),
            keeps_messages: true,
            closes: faults.closes,
            pings: faults.pings,
            // An end without a Close is passed on as one [D].
            lost: faults.lost.map(|code| (code, "The other side is lost")),
            idle: faults.idle,
            expiry: expiry.map(|when| (when, CloseCode::Policy, "The token has expired".to_owned())),
        };
        Settings { latency: self.faults.latency, window: faults.window, cut: self.faults.cut.take(), rules }
    }
}

/// The token of a request, from its header or its query \[D]\[T].
pub(super) fn token_of(request: &Request<Incoming>, target: &HybridRequest) -> Option<String> {
    let header = request.headers().get(TOKEN).and_then(|value| value.to_str().ok());
    let token = header.or_else(|| target.parameter("token"));
    token.filter(|token| !token.is_empty()).map(str::to_owned)
}
