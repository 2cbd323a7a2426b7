//! Asking for a stream, and joining it.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_LENGTH;
use tokio::task::JoinSet;

use super::rest::{answer, authorized, bug, endpoint, malformed};
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::gateway::{join, join_over};
use crate::backend::iothub::phase;
use crate::backend::iothub::proto::{Answer, HubAddress, Initiate, Malformed};
use crate::backend::iothub::skew::Skew;
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Stream, WebSocket, WssUrl};
use crate::secret::Secret;
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// What the hub may take beyond the time it waits for the device: C# gives it as much [S].
const HUB_SLACK: Duration = Duration::from_secs(15);

/// What a hub that is left to its own time limits may take: C#'s 60 s for each [S].
const HUB_DEFAULT: Duration = Duration::from_secs(60);

/// The longest answer taken from a hub; all that counts is in its headers [S].
const ANSWER_LIMIT: usize = 64 * 1024;

/// A request for a stream, with a token for one try.
#[derive(Debug)]
pub struct Request {
    pub hub: HubAddress,
    /// Where to connect, if not to the hub itself.
    pub gateway: Option<HubAddress>,
    /// The value of the `Authorization` header: a token's text, without a further scheme word [S][M].
    pub authorization: Secret,
    pub initiate: Initiate,
}

/// Asks for a stream and joins it. `guess` is the gateway that the hub is expected to name: it is dialled in the
/// meantime. Where the hub names another, or the connection is closed by then, the gateway that it names is dialled.
///
/// # Errors
/// Which phase failed, and what the hub, the device or the gateway said.
pub async fn open(
    network: &Network,
    request: &Request,
    guess: Option<&Endpoint>,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    open_in_turn(network, request, None, guess, phases).await
}

/// The same, after waiting for a turn.
pub(crate) async fn open_in_turn(
    network: &Network,
    request: &Request,
    turn: Option<Turn<'_>>,
    guess: Option<&Endpoint>,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    // Dropping the set aborts the task.
    let mut dialling = JoinSet::new();
    if let Some(guess) = guess.cloned() {
        let network = network.clone();
        dialling.spawn(async move {
            let mut phases = Phases::default();
            network.connect(&guess, &mut phases).await.map(|stream| (stream, phases))
        });
    }
    let (url, token) = ask(network, request, turn, phases).await?;
    let url = WssUrl::parse(&url).map_err(|problem| malformed(&request.hub)(Malformed(problem)))?;
    if guess == Some(&url.endpoint)
        && let Some(Ok(Ok((stream, before)))) = dialling.join_next().await
    {
        phases.extend(before);
        match join_over(stream, &url, &token, phases).await {
            // A gateway closes a connection that waits for too long.
            Err(Error::Network { problem, .. }) => log::info!("dialling again: {problem}"),
            joined => return joined,
        }
    }
    join(network, &url, &token, phases).await
}

/// Asks the hub for the stream: where to join it, and with which token.
async fn ask(
    network: &Network,
    request: &Request,
    turn: Option<Turn<'_>>,
    phases: &mut Phases,
) -> Result<(String, Secret)> {
    let Request { hub, gateway, initiate, .. } = request;
    let endpoint = endpoint(hub, gateway.as_ref());
    let stream = network.connect(&endpoint, phases).await?;
    // Not before connecting: connections take different times, and the requests would come together again.
    if let Some(turn) = turn {
        turn.wait().await;
    }
    let since = Instant::now();
    let waits = [initiate.connect_timeout, initiate.response_timeout];
    let limit: Duration = waits.iter().map(|wait| if wait.is_zero() { HUB_DEFAULT } else { *wait }).sum();
    let limit = limit + HUB_SLACK;
    let reply = answer(stream, &endpoint, http_request(request, &endpoint)?, ANSWER_LIMIT, limit).await?;
    let answer = Answer::parse(reply.status, &reply.headers, &reply.body).map_err(malformed(hub))?;
    // The hub's own part cannot be told from the device's, except where the hub fails before it asks.
    let phase = match &answer {
        Answer::Failed(failure) if !failure.is_the_devices() => phase::HUB,
        _ => phase::DEVICE,
    };
    phases.done(phase, &endpoint, since);
    match answer {
        Answer::Accepted { url, token } => Ok((url, token)),
        Answer::Rejected => Err(HubError::Rejected {
            identity: initiate.identity.clone(),
            stream: initiate.stream.clone(),
            hub: hub.to_string(),
        }
        .into()),
        Answer::Failed(failure) => Err(HubError::Hub {
            hub: hub.to_string(),
            identity: initiate.identity.clone(),
            skew: reply
                .date()
                .filter(|_| failure.status == 401)
                .and_then(|hub| Skew::between(SystemTime::now(), hub)),
            failure: Box::new(failure),
        }
        .into()),
    }
}

fn http_request(request: &Request, endpoint: &Endpoint) -> Result<hyper::Request<Full<Bytes>>> {
    let post = hyper::Request::post(request.initiate.path());
    let mut builder = authorized(post, endpoint, &request.authorization)?;
    for (name, value) in request.initiate.timeouts() {
        builder = builder.header(name, value);
    }
    // No body, and a Content-Length of zero [M].
    builder.header(CONTENT_LENGTH, 0).body(Full::default()).map_err(bug)
}
