//! A listener opens its control channel.

use std::future::pending;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;

use super::authorization::Scope;
use super::connect::token_of;
use super::control_channel::ControlChannel;
use super::faults::RequestFault;
use super::namespace::Namespace;
use super::refusal::Refusal;
use super::request::HybridRequest;
use super::rules::Right;
use super::tracking::TrackingId;
use crate::emulator::server::Reply;
use crate::emulator::websocket::handshake;

impl Namespace {
    /// Answers a listener, and serves its control channel.
    ///
    /// # Errors
    /// Why it may not listen.
    pub(super) async fn listen(
        self: &Arc<Self>,
        request: &Request<Incoming>,
        target: &HybridRequest,
        id: &TrackingId,
    ) -> Result<Reply, Refusal> {
        match self.faults.relay.listen.take() {
            None => {}
            Some(RequestFault::Status(status)) => return Err(Refusal::new(status, "On request")),
            Some(RequestFault::Silent) => pending().await,
            Some(RequestFault::Drop) => return Ok(Reply::Drop),
        }
        let connection = self.find(&target.path)?;
        let token = token_of(request, target);
        let grant = self.authorize(connection, &target.path, token.as_deref(), Right::Listen, Scope::This)?;
        let answer = handshake::accept(request).map_err(|_| Refusal::no_websocket())?;
        let registration = connection.listeners.register(&id.to_string()).ok_or_else(|| {
            let text = "The maximum number of listeners is connected to this endpoint";
            Refusal::new(self.faults.relay.full, text)
        })?;
        let channel = ControlChannel {
            namespace: Arc::clone(self),
            path: target.path.clone(),
            id: id.clone(),
            grant,
            registration,
        };
        Ok(Reply::upgrade(answer, |io| async move {
            let (io, linger) = channel.serve(io).await;
            io.end(linger).await;
        }))
    }
}
