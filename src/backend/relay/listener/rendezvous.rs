//! The meeting with a sender at one of the service's gateways.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::time::{Instant, timeout};

use super::error::Error as RelayError;
use crate::backend::Joined;
use crate::backend::relay::phase::GATEWAY;
use crate::backend::relay::proto::{self, Accept};
use crate::error::{Error, Result};
use crate::net::{Network, Opened, Refusal, Stream, Upgrade, WebSocket, WssUrl};
use crate::time::phase::Phases;

/// How long an address is valid \[P].
pub(super) const LIFE: Duration = Duration::from_secs(30);

/// The time limit of a dial \[D].
const DIAL_LIMIT: Duration = Duration::from_secs(20);

/// The status that confirms a rejection \[P].
const GONE: u16 = 410;

/// An address at which the service meets us once.
#[derive(Clone)]
pub(super) struct Rendezvous {
    url: WssUrl,
    /// The first subprotocol that the sender offered. The service completes the sender's upgrade with it \[D].
    subprotocol: Option<HeaderValue>,
    pub(super) arrived: Instant,
}

impl Rendezvous {
    /// The rendezvous at `url`, for the sender of `accept`.
    pub(super) fn new(url: WssUrl, accept: &Accept) -> Self {
        let offered = accept.header(SEC_WEBSOCKET_PROTOCOL.as_str());
        let first = offered.as_deref().and_then(|offered| offered.split(',').next()).map(str::trim);
        let subprotocol = first.filter(|first| !first.is_empty()).and_then(|name| name.parse().ok());
        Self { url, subprotocol, arrived: Instant::now() }
    }

    /// The rendezvous of a request in the HTTP mode.
    pub(super) fn of_request(url: WssUrl) -> Self {
        Self { url, subprotocol: None, arrived: Instant::now() }
    }

    /// The path of the address.
    pub(super) fn path(&self) -> &str {
        self.url.path.split('?').next().unwrap_or_default()
    }

    /// Meets the sender. Its own upgrade is then complete \[P].
    ///
    /// Not cancel-safe: dropping the future drops the connection.
    ///
    /// # Errors
    /// Returns an error if the gateway cannot be reached or refuses.
    pub(super) async fn join(&self, network: &Network) -> Result<Joined> {
        let opened = self.dial(network, &self.url, Phases::default()).await?;
        opened.map(joined).map_err(|refusal| refused(&refusal))
    }

    /// Opens the WebSocket for a sender that nobody has decided on, without lines in the log.
    ///
    /// Not cancel-safe: dropping the future drops the connection.
    ///
    /// # Errors
    /// Returns an error if the gateway cannot be reached or refuses.
    pub(super) async fn open(&self, network: &Network) -> Result<WebSocket<Stream>> {
        let opened = self.dial(network, &self.url, Phases::unlogged()).await?;
        opened.map_err(|refusal| refused(&refusal))
    }

    /// Gives the sender a status and a text.
    ///
    /// # Errors
    /// Returns an error if the gateway does not confirm it.
    pub(super) async fn reject(&self, network: &Network, status: u16, text: &str) -> Result<()> {
        match self.dial(network, &proto::rejection(&self.url, status, text), Phases::unlogged()).await? {
            Err(refusal) if refusal.status == GONE => Ok(()),
            Err(refusal) => Err(refused(&refusal)),
            Ok(_) => {
                let gateway = format!("the gateway {}", self.url.endpoint);
                Err(Error::protocol(gateway, "it opens a stream in answer to a rejection"))
            }
        }
    }

    async fn dial(&self, network: &Network, url: &WssUrl, mut phases: Phases) -> Result<Opened<Stream>> {
        let subprotocol = self.subprotocol.clone().map(|name| (SEC_WEBSOCKET_PROTOCOL, name));
        let asked = Upgrade { phase: GATEWAY, headers: HeaderMap::from_iter(subprotocol), limit: DIAL_LIMIT };
        timeout(DIAL_LIMIT, network.open(url, &asked, &mut phases))
            .await
            .map_err(|_| Error::timeout(GATEWAY, &url.endpoint, DIAL_LIMIT))?
    }
}

fn refused(refusal: &Refusal) -> Error {
    RelayError::gateway(refusal).into()
}

/// The stream over a gateway's WebSocket. A sender that leaves closes with 1001 \[P].
pub(super) fn joined(websocket: WebSocket<Stream>) -> Joined {
    Joined { going_away_is_end: true, ..websocket.into() }
}

impl std::fmt::Debug for Rendezvous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest of the address is secret.
        f.debug_struct("Rendezvous").field("gateway", &self.url.endpoint).finish_non_exhaustive()
    }
}
