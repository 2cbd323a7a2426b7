//! Joins a stream at its gateway.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::error::Error as HubError;
use super::phase::GATEWAY;
use crate::error::{Error, Result};
use crate::net::{Network, Opened, Stream, Upgrade, WebSocket, WssUrl, open_over};
use crate::secret::Secret;
use crate::time::phase::Phases;

/// Joins the stream at `url`. The token is valid for one use \[S].
///
/// Not cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns an error if the gateway cannot be reached or refuses.
pub(crate) async fn join(
    network: &Network,
    url: &WssUrl,
    token: &Secret,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    joined(network.open(url, &upgrade(url, token)?, phases).await?)
}

/// Joins the stream over a connection to its gateway.
///
/// # Errors
/// Returns an error if the gateway refuses or has closed the connection.
pub(crate) async fn join_over(
    stream: Stream,
    url: &WssUrl,
    token: &Secret,
    phases: &mut Phases,
) -> Result<WebSocket<Stream>> {
    joined(open_over(stream, url, &upgrade(url, token)?, phases).await?)
}

fn upgrade(url: &WssUrl, token: &Secret) -> Result<Upgrade> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
        Error::protocol(format!("the gateway {}", url.endpoint), "its token cannot be put into a request")
    })?;
    bearer.set_sensitive(true);
    Ok(Upgrade {
        phase: GATEWAY,
        headers: HeaderMap::from_iter([(AUTHORIZATION, bearer)]),
        limit: Upgrade::LIMIT,
    })
}

fn joined(opened: Opened<Stream>) -> Result<WebSocket<Stream>> {
    opened.map_err(|refusal| HubError::Gateway(refusal.into()).into())
}
