//! A side joins its stream at the gateway.

use std::future::pending;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};

use super::gateway::{JoinError, settings};
use super::hub::Hub;
use crate::emulator::faults::GatewayFault;
use crate::emulator::forward::{Settings, forward};
use crate::emulator::server::{Reply, empty};
use crate::emulator::websocket::handshake::{self, Refused};

/// The largest frame that the service takes: more was seen to cut the connection \[S]\[I].
const MAX_FRAME: usize = 65_536;

impl Hub {
    /// Answers a side that joins a stream, and forwards for it.
    ///
    /// # Errors
    /// The side may not join, or its request is not an opening handshake.
    pub(super) async fn join_stream(self: Arc<Self>, request: &Request<Incoming>) -> Result<Reply, Refused> {
        match self.faults.gateway.take() {
            None => {}
            Some(GatewayFault::Status(status)) => return Ok(empty(status).into()),
            Some(GatewayFault::NoUpgrade) => return Ok(empty(StatusCode::OK).into()),
            Some(GatewayFault::Silent) => pending().await,
        }
        // The answer has no subprotocol, whatever was offered: all known clients accept that [S][M].
        let answer = handshake::accept(request)?;
        let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let result = self.streams.join(request.uri().path(), token, self.faults.clock.now());
        let (channel, joined) = result.map_err(|problem| {
            let (status, why) = match problem {
                JoinError::NotFound => (StatusCode::NOT_FOUND, "The token is for no such path."),
                JoinError::Unauthorized => {
                    (StatusCode::UNAUTHORIZED, "The token is missing, invalid, expired or used up.")
                }
                JoinError::WrongSide => (StatusCode::FORBIDDEN, "The token is for the other side."),
                JoinError::AlreadyJoined => {
                    (StatusCode::CONFLICT, "This side of the stream is already connected.")
                }
            };
            Refused { status, why }
        })?;
        Ok(Reply::upgrade(answer, move |io| async move {
            let left = forward(io, channel).await;
            drop(joined);
            if let Some((io, linger)) = left {
                io.end(linger).await;
            }
        }))
    }

    /// The settings of a stream that is cut after `cut` bytes.
    pub(super) fn stream_settings(&self, cut: Option<u64>) -> Settings {
        settings(self.faults.latency, self.faults.frames.unwrap_or(MAX_FRAME), cut)
    }
}
