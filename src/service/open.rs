//! Asking for a stream, and joining it.

use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use hyper::http::request::Builder;
use tokio::time::timeout;

use crate::error::{Error, Result, Skew};
use crate::iothub::{Answer, HubAddress, Initiate};
use crate::net::{Endpoint, Network, Stream, WebSocket, WssUrl, exchange, join_over};
use crate::phase::{Phase, Phases};
use crate::secret::Secret;

/// What every client of the service says it is.
const PRODUCT: &str = concat!("iotstream/", env!("CARGO_PKG_VERSION"));

/// What the hub may take beyond the time it waits for the device: C# gives it as much [S].
const HUB_SLACK: Duration = Duration::from_secs(15);

/// What a hub that is left to its own time limits may take: C#'s 60 s for each [S].
const HUB_DEFAULT: Duration = Duration::from_secs(60);

/// The longest answer taken from a hub; all that counts is in its headers [S].
const ANSWER_LIMIT: usize = 64 * 1024;

/// What to ask of which hub.
#[derive(Debug)]
pub struct Request {
    pub hub: HubAddress,
    /// Where to connect, if not to the hub itself.
    pub gateway: Option<HubAddress>,
    /// The value of the `Authorization` header: a token's text, without a further scheme word [S][M].
    pub authorization: Secret,
    pub initiate: Initiate,
}

/// Asks for a stream and joins it. `guess` is the gateway that the hub may name: it is dialled in the meantime, and
/// where the hub names another, or it is gone by then, nothing is lost.
///
/// # Errors
/// Which phase failed, and what the hub, the device or the gateway said.
pub async fn open(
    network: &Network,
    request: &Request,
    guess: Option<&Endpoint>,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    let mut dial = pin!(async {
        let mut phases = Phases::default();
        let stream = network.connect(guess?, &mut phases).await;
        stream.ok().map(|stream| (stream, phases))
    });
    let mut dialled = None;
    let (url, token) = {
        let mut asked = pin!(ask(network, request, phases));
        loop {
            tokio::select! {
                biased;
                asked = &mut asked => break asked?,
                done = &mut dial, if dialled.is_none() => dialled = Some(done),
            }
        }
    };
    let url = WssUrl::of_stream(&url)?;
    if guess == Some(&url.endpoint) {
        let dialled = match dialled {
            Some(dialled) => dialled,
            None => dial.await,
        };
        if let Some((stream, before)) = dialled {
            phases.extend(before);
            match join_over(stream, &url, &token, phases).await {
                // It may have waited for longer than the gateway likes.
                Err(Error::Network { problem, .. }) => log::info!("dialling again: {problem}"),
                joined => return joined,
            }
        }
    }
    network.join(&url, &token, phases).await
}

/// Asks the hub for the stream: where to join it, and with which token.
async fn ask(network: &Network, request: &Request, phases: &mut Phases) -> Result<(String, Secret)> {
    let Request { hub, gateway, initiate, .. } = request;
    let endpoint = endpoint(hub, gateway.as_ref());
    let stream = network.connect(&endpoint, phases).await?;
    let since = Instant::now();
    let waits = [initiate.connect_timeout, initiate.response_timeout];
    let limit: Duration = waits.iter().map(|wait| if wait.is_zero() { HUB_DEFAULT } else { *wait }).sum();
    let limit = limit + HUB_SLACK;
    let reply = timeout(limit, exchange(stream, &endpoint, http_request(request, &endpoint)?, ANSWER_LIMIT))
        .await
        .map_err(|_| Error::Timeout { phase: Phase::Hub, target: endpoint.to_string(), after: limit })??;
    let answer = Answer::parse(reply.status, &reply.headers, &reply.body)
        .map_err(|problem| Error::Protocol { target: hub.to_string(), problem: problem.0 })?;
    // The hub's own part cannot be told from the device's, except where the hub fails before it asks.
    let phase = if matches!(answer, Answer::Failed(_)) { Phase::Hub } else { Phase::Device };
    phases.done(phase, &endpoint, since);
    match answer {
        Answer::Accepted { url, token } => Ok((url, token)),
        Answer::Rejected => Err(Error::Rejected {
            identity: initiate.identity.clone(),
            stream: initiate.stream.clone(),
            hub: hub.to_string(),
        }),
        Answer::Failed(failure) => Err(Error::Hub {
            hub: hub.to_string(),
            identity: initiate.identity.clone(),
            skew: reply
                .date()
                .filter(|_| failure.status == 401)
                .and_then(|hub| Skew::between(SystemTime::now(), hub)),
            failure: Box::new(failure),
        }),
    }
}

/// Where requests for the hub go.
pub(super) fn endpoint(hub: &HubAddress, gateway: Option<&HubAddress>) -> Endpoint {
    let address = gateway.unwrap_or(hub);
    Endpoint::new(&*address.name, address.port.unwrap_or(443))
}

/// A request that cannot be made is our own mistake.
pub(super) fn bug(error: hyper::http::Error) -> Error {
    Error::Bug(format!("a request cannot be made: {error}"))
}

/// Gives a request what all of them have.
pub(super) fn authorized(builder: Builder, endpoint: &Endpoint, authorization: &Secret) -> Result<Builder> {
    let mut authorization =
        HeaderValue::try_from(authorization.expose()).map_err(|error| bug(error.into()))?;
    authorization.set_sensitive(true);
    Ok(builder
        .header(HOST, endpoint.authority())
        .header(AUTHORIZATION, authorization)
        .header(USER_AGENT, PRODUCT)
        .header(ACCEPT, "application/json"))
}

fn http_request(request: &Request, endpoint: &Endpoint) -> Result<hyper::Request<Full<Bytes>>> {
    let post = hyper::Request::post(request.initiate.path());
    let mut builder = authorized(post, endpoint, &request.authorization)?;
    for (name, value) in request.initiate.timeouts() {
        builder = builder.header(name, value);
    }
    // No body, and a length that says so [M].
    builder.header(CONTENT_LENGTH, 0).body(Full::default()).map_err(bug)
}
