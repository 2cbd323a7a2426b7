//! Requests a stream and joins it.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_LENGTH;
use tokio::task::JoinSet;

use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::gateway::{join, join_over};
use crate::backend::iothub::phase;
use crate::backend::iothub::proto::{Answer, HubAddress, Initiate, Malformed};
use crate::backend::iothub::rest::{answer, endpoint, malformed};
use crate::backend::request::{authorized, bug};
use crate::backend::skew::Skew;
use crate::error::{Error, Result};
use crate::net::{Endpoint, Network, Stream, WebSocket, WssUrl};
use crate::secret::Secret;
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// The time limit of the hub beyond its waits for the device, as in C# \[S].
const HUB_SLACK: Duration = Duration::from_secs(15);

/// The assumed duration of each wait that is left to the hub: C#'s 60 s \[S].
const HUB_DEFAULT: Duration = Duration::from_secs(60);

/// The longest answer in bytes. The result is in its headers \[S].
const ANSWER_LIMIT: usize = 64 * 1024;

/// A request for a stream, with a token for one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The hub.
    pub hub: HubAddress,
    /// The `GatewayHostName` to connect to in place of the hub.
    pub gateway: Option<HubAddress>,
    /// The value of the `Authorization` header: a token without another scheme \[S]\[M].
    pub authorization: Secret,
    /// The stream.
    pub initiate: Initiate,
}

/// Requests a stream and joins it. Dials `guess`, the expected gateway, at the same time, and dials again if the hub names
/// another or the connection is closed by then.
///
/// Cancel-safe: dropping the future abandons the stream.
///
/// # Errors
/// Returns an error with the phase that failed and the answer of the hub, the device or the gateway.
pub(crate) async fn open(
    network: &Network,
    request: &Request,
    guess: Option<&Endpoint>,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    open_in_turn(network, request, None, guess, || (), phases).await
}

/// Like [`open`], and waits for `turn` before the request. Calls `asking` where a task that it spawns runs once the request is
/// on its way.
pub(crate) async fn open_in_turn(
    network: &Network,
    request: &Request,
    turn: Option<Turn<'_>>,
    guess: Option<&Endpoint>,
    asking: impl FnOnce(),
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
    let (url, token) = ask(network, request, turn, asking, phases).await?;
    let url = WssUrl::parse(&url).map_err(|problem| malformed(&request.hub)(Malformed(problem)))?;
    if guess == Some(&url.endpoint)
        && let Some(Ok(Ok((stream, before)))) = dialling.join_next().await
    {
        phases.extend(before);
        match join_over(stream, &url, &token, phases).await {
            // A gateway closes a connection that is idle for too long.
            Err(Error::Network { problem, .. }) => log::info!("dialling again: {problem}"),
            joined => return joined,
        }
    }
    join(network, &url, &token, phases).await
}

/// Requests the stream from the hub. Returns its URL and token.
async fn ask(
    network: &Network,
    request: &Request,
    turn: Option<Turn<'_>>,
    asking: impl FnOnce(),
    phases: &mut Phases,
) -> Result<(String, Secret)> {
    let Request { hub, gateway, initiate, .. } = request;
    let endpoint = endpoint(hub, gateway.as_ref());
    let stream = network.connect(&endpoint, phases).await?;
    // After connecting: connection times differ, and would bunch the requests again.
    if let Some(turn) = turn {
        turn.wait().await;
    }
    let since = Instant::now();
    let waits = [initiate.connect_timeout, initiate.response_timeout];
    let limit: Duration = waits.iter().map(|wait| if wait.is_zero() { HUB_DEFAULT } else { *wait }).sum();
    let limit = limit + HUB_SLACK;
    let http_request = http_request(request, &endpoint)?;
    // On a runtime of one thread, other tasks run when this one waits for the answer.
    asking();
    let reply = answer(stream, &endpoint, http_request, ANSWER_LIMIT, limit).await?;
    let answer = Answer::parse(reply.status, &reply.headers, &reply.body).map_err(malformed(hub))?;
    // The time includes the hub's and the device's part, unless the hub fails before it asks the device.
    let phase = match &answer {
        Answer::Failed(failure) if !failure.is_device_failure() => phase::HUB,
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
    let mut builder = authorized(post, endpoint, Some(&request.authorization))?;
    for (name, value) in request.initiate.timeouts() {
        builder = builder.header(name, value);
    }
    // The body is empty, with a Content-Length of zero [M].
    builder.header(CONTENT_LENGTH, 0).body(Full::default()).map_err(bug)
}
