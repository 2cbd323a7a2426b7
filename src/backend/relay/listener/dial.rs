//! Opens a control channel.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use tokio::time::timeout;

use super::channel::Channel;
use super::credential::ListenToken;
use super::error::Error as RelayError;
use super::relay_listener::RelayListener;
use crate::backend::relay::headers::authorize;
use crate::backend::relay::phase::RELAY;
use crate::backend::relay::proto::{Action, path};
use crate::error::{Error, Result};
use crate::net::{Network, Upgrade, WssUrl};
use crate::time::phase::Phases;

/// The time limit of dialling and the upgrade together.
const LIMIT: Duration = Duration::from_secs(30);

/// An open control channel, its token, and the listener that it is of.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) channel: Channel,
    pub(super) token: ListenToken,
    pub(super) device: Arc<RelayListener>,
}

/// Opens a control channel with a fresh token.
///
/// Cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns why there is no token, or why the service cannot be reached or refuses.
pub(super) async fn connect(device: Arc<RelayListener>, network: Network) -> Result<Connected> {
    let credential = &device.credential;
    let token = credential.token(device.token_life).await?;
    let path = path(&credential.entity, None, Action::Listen, device.id());
    let url = WssUrl { endpoint: credential.namespace.server(), path };
    let mut headers = HeaderMap::new();
    authorize(&mut headers, &token.text, || credential.describe())?;
    let asked = Upgrade { phase: RELAY, headers, limit: LIMIT };
    let mut phases = Phases::default();
    let opened = timeout(LIMIT, network.open(&url, &asked, &mut phases))
        .await
        .map_err(|_| Error::timeout(RELAY, &url.endpoint, LIMIT))??;
    let websocket = opened.map_err(|refusal| RelayError::refused(credential, &refusal))?;
    let channel = Channel::new(Box::new(websocket.io), websocket.early, device.keepalive).await;
    Ok(Connected { channel, token, device })
}
