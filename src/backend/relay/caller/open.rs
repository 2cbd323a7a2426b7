//! Opens a stream: one WebSocket upgrade, which the namespace answers once a listener has accepted.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::request::Request;
use super::retries::{Retries, is_answer};
use crate::backend::Pending;
use crate::backend::relay::error::Error as RelayError;
use crate::backend::relay::phase::RELAY;
use crate::backend::relay::proto::Cause;
use crate::error::{Error, Result};
use crate::net::{Network, Opened, Stream, WebSocket, open_over};
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// The silence after which a second try is made beside the first. The service answers most tries within 7 s, and some never
/// \[A].
const STALLED: Duration = Duration::from_secs(10);

/// Asks for the stream until it opens or the request's times are over. All tries carry `id`, so that an agent asks its user
/// once.
///
/// Cancel-safe: dropping the future abandons the stream.
///
/// # Errors
/// Returns an error with the phase that failed and the answer of the namespace or the listener.
pub(crate) async fn open(
    network: &Network,
    request: &Request,
    id: Uuid,
    turn: Option<Turn<'_>>,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    let deadline = Instant::now() + request.connect_timeout;
    let mut retries = Retries::until(deadline);
    let mut listener = request.listener;
    let mut earlier = None;
    loop {
        let one = Try { network, request, id, listener };
        let error = match one.run(deadline, turn, phases).await {
            Err(error) => error,
            joined => return joined,
        };
        // The time was over while a retry was dialled. Why there was a retry says more.
        if let (Some(earlier), Error::Timeout { phase, .. }) = (earlier.take(), &error)
            && *phase != RELAY
        {
            return Err(earlier);
        }
        let has_no_such_listener = matches!(error.fault(), Some(RelayError::Refused(refused))
            if refused.cause() == Cause::NoAllowedListener);
        if has_no_such_listener && Instant::now() < deadline && listener.take().is_some() {
            log::info!("{error}; asking any listener");
            earlier = Some(error);
            continue;
        }
        let Some(pause) = retries.pause(&error) else { return Err(error) };
        log::info!("{error}; trying again");
        earlier = Some(error);
        sleep(pause).await;
    }
}

/// One try of a start.
#[derive(Clone, Copy)]
struct Try<'a> {
    network: &'a Network,
    request: &'a Request,
    id: Uuid,
    listener: Option<Uuid>,
}

impl Try<'_> {
    /// Dials until `deadline`, waits for `turn`, and asks. A second try joins a stalled one.
    async fn run(
        self,
        deadline: Instant,
        turn: Option<Turn<'_>>,
        phases: &mut Phases,
    ) -> Result<WebSocket<Stream>> {
        let url = self.request.url(self.id);
        let upgrade = self.request.upgrade(self.listener).await?;
        let stream = self.network.until(deadline).connect(&url.endpoint, phases).await?;
        if let Some(turn) = turn {
            turn.wait().await;
        }
        let until = Instant::now() + self.request.response_timeout;
        let mut later = Phases::default();
        let answer = async {
            let mut first: Pending<'_, _> =
                Box::pin(async { self.checked(open_over(stream, &url, &upgrade, phases).await?) });
            match timeout(STALLED, &mut first).await {
                Ok(answer) => answer,
                Err(_) => {
                    log::info!("no answer from {} in {} s; asking again", url.endpoint, STALLED.as_secs());
                    first_of(first, Box::pin(self.again(until, &mut later))).await
                }
            }
        };
        let answer = answer.await;
        phases.extend(later);
        answer
    }

    /// The second try, over its own connection, `until` the first one's end.
    async fn again(self, until: Instant, phases: &mut Phases) -> Result<WebSocket<Stream>> {
        let Request { connect_timeout, response_timeout, .. } = *self.request;
        let url = self.request.url(self.id);
        let mut upgrade = self.request.upgrade(self.listener).await?;
        let network = self.network.until(until.min(Instant::now() + connect_timeout));
        let stream = network.connect(&url.endpoint, phases).await?;
        upgrade.limit = until.saturating_duration_since(Instant::now());
        let opened = open_over(stream, &url, &upgrade, phases).await.map_err(|error| match error {
            Error::Timeout { phase, target, .. } => Error::timeout(phase, target, response_timeout),
            error => error,
        });
        self.checked(opened?)
    }

    fn checked(self, opened: Opened<Stream>) -> Result<WebSocket<Stream>> {
        opened.map_err(|refusal| self.request.refused(&refusal))
    }
}

/// The stream of the try that gets one, or the first answer that both would get.
async fn first_of<T>(mut one: Pending<'_, Result<T>>, mut other: Pending<'_, Result<T>>) -> Result<T> {
    let (ended, waiting) = tokio::select! {
        ended = &mut one => (ended, other),
        ended = &mut other => (ended, one),
    };
    match ended {
        Err(error) if !is_answer(&error) => match waiting.await {
            // An answer says more than a failure of the network.
            Err(second) if second.fault::<RelayError>().is_none() => Err(error),
            second => second,
        },
        ended => ended,
    }
}
