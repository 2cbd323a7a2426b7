//! Requests to the hub's REST API.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::time::timeout;

use crate::backend::iothub::phase;
use crate::backend::iothub::proto::{HubAddress, HubFailure, Malformed};
use crate::error::{Error, Problem, Result};
use crate::net::{Endpoint, Reply, Stream, exchange};

/// The server for requests to the hub.
pub(crate) fn endpoint(hub: &HubAddress, gateway: Option<&HubAddress>) -> Endpoint {
    let address = gateway.unwrap_or(hub);
    Endpoint::new(&*address.name, address.port.unwrap_or(443))
}

/// Sends `request` over a connection to `endpoint` and reads the answer within `time` and up to `limit` bytes.
///
/// Not cancel-safe: dropping the future drops the connection.
pub(crate) async fn answer(
    stream: Stream,
    endpoint: &Endpoint,
    request: hyper::Request<Full<Bytes>>,
    limit: usize,
    time: Duration,
) -> Result<Reply> {
    timeout(time, exchange(stream, phase::HUB, endpoint, request, limit))
        .await
        .map_err(|_| Error::timeout(phase::HUB, endpoint, time))?
}

/// Parses the hub's error answer.
pub(crate) fn failure(reply: &Reply) -> HubFailure {
    HubFailure::of(reply.status, &reply.headers, &reply.body)
}

/// The error of a malformed answer.
pub(crate) fn malformed(hub: &HubAddress) -> impl FnOnce(Malformed) -> Error {
    move |problem| Error::protocol(format!("the hub {hub}"), Problem::of(problem))
}
