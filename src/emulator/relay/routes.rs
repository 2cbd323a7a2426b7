//! Which part of the namespace answers an HTTP request.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::hybrid_connection::{HybridConnection, find};
use super::listeners::Choice;
use super::messages;
use super::namespace::Namespace;
use super::refusal::{Refusal, set_reason};
use super::request::{Action, HybridRequest, below_prefix};
use super::tracking::TrackingId;
use crate::backend::relay::proto::header::TOKEN;
use crate::emulator::server::{Answer, Answering, Client, Reply, Service, empty};

/// How long a request of the HTTP mode waits for its answer \[P].
const HTTP_RESPONSE: Duration = Duration::from_secs(60);

/// The first parts of IoT Hub's paths, which hybrid connections do not take.
const OF_THE_HUB: [&str; 4] = ["devices", "twins", "bridges", "$iothub"];

impl Service for Namespace {
    /// Paths below `/$hc/`, and those of hybrid connections in the HTTP mode.
    fn serves(&self, path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        below_prefix(path).is_some()
            || (!OF_THE_HUB.contains(&first) && find(&self.connections, path).is_some())
    }

    fn answer(self: Arc<Self>, request: Request<Incoming>, client: Client) -> Answering {
        Box::pin(async move {
            let target = HybridRequest::parse(request.uri());
            let id = TrackingId::new(target.parameter("id"));
            let reply = match target.action() {
                _ if below_prefix(request.uri().path()).is_none() => {
                    self.request(&request, &target, &id, &client).await
                }
                Some(Action::Listen) => self.listen(&request, &target, &id).await,
                Some(Action::Connect) => self.connect(&request, &target, &id, &client).await,
                // Listeners meet senders at the gateway.
                Some(Action::Accept) => {
                    Err(Refusal::new(StatusCode::FORBIDDEN, "The URL is not valid at this endpoint"))
                }
                None => Err(Refusal::new(StatusCode::BAD_REQUEST, "The sb-hc-action is not known")),
            };
            reply.unwrap_or_else(|refusal| self.refuse(&refusal, &id, &target).into())
        })
    }
}

impl Namespace {
    /// The hybrid connection that a path is for.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(&self, path: &str) -> Result<&HybridConnection, Refusal> {
        find(&self.connections, path)
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "Endpoint does not exist"))
    }

    /// The name of a path in the service's messages.
    pub(super) fn resource(&self, path: &str) -> String {
        format!("sb://{}/{path}", self.address.public.host)
    }

    pub(super) fn refuse(&self, refusal: &Refusal, id: &TrackingId, target: &HybridRequest) -> Answer {
        let (now, phrases) = (self.faults.clock.now(), self.faults.relay.phrases);
        refusal.answer(id, &self.resource(&target.path), now, phrases)
    }

    /// Answers a request of the HTTP mode, which is for a listener where `relay-http` says so. Bodies are left out.
    async fn request(
        &self,
        request: &Request<Incoming>,
        target: &HybridRequest,
        id: &TrackingId,
        client: &Client,
    ) -> Result<Reply, Refusal> {
        if !self.faults.relay.forwards_http {
            return Err(Refusal::no_websocket());
        }
        let connection = self.find(&target.path)?;
        self.authorize_sender(connection, request, target)?;
        let mut headers = client.head.headers(request);
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(TOKEN));
        let path = format!("/{}?{}", target.path, target.own_query().trim_end_matches('&'));
        let method = request.method().as_str();
        let stream = id.of_stream();
        let message = messages::request(&stream, method, path.trim_end_matches('?'), headers, false);
        let bad = |status, text: &str| Refusal::new(status, text);
        let listener = connection
            .listeners
            .choose(&Choice::default())
            .map_err(|_| bad(StatusCode::BAD_GATEWAY, "No listener is connected"))?;
        let response = self.http_requests.wait(&stream);
        let _ = listener.try_send(message);
        match timeout(HTTP_RESPONSE, response).await {
            Ok(Ok(response)) => {
                let mut answer = empty(response.status);
                set_reason(&mut answer, &response.text);
                Ok(answer.into())
            }
            _ => Err(bad(StatusCode::GATEWAY_TIMEOUT, "The listener did not respond in time")),
        }
    }
}
