//! The login to the hub, and the errors of a hub connection.

use std::io;
use std::time::SystemTime;

use super::clock::clock;
use super::credential::LoginToken;
use super::dial::MqttIo;
use super::hub_connection::{ConnectionError, HubConnection};
use super::hub_listener::Device;
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::phase::HUB;
use crate::backend::iothub::proto::{Login, Refusal};
use crate::backend::product::PRODUCT;
use crate::backend::skew::Skew;
use crate::error::{Error, Problem, Result};
use crate::net::Network;

/// Logs in and subscribes over `io`.
///
/// Not cancel-safe: dropping the future drops the connection.
///
/// # Errors
/// Returns why the hub refuses the device, with the clock's skew if it is too large, or why the connection failed.
pub(super) async fn log_in(
    io: MqttIo,
    token: Option<&LoginToken>,
    device: &Device,
    network: &Network,
) -> Result<HubConnection<MqttIo>> {
    let credential = &device.credential;
    let login = Login::new(&credential.hub, &credential.identity, PRODUCT);
    let password = token.map(|token| &token.text);
    match HubConnection::begin(io, &login, password, device.settings.keepalive).await {
        Ok(connection) => Ok(connection),
        Err(ConnectionError::Refused(refusal)) => Err(HubError::Login {
            hub: credential.hub.to_string(),
            identity: credential.identity.clone(),
            refusal,
            skew: match refusal {
                Refusal::BadCredential | Refusal::NotAuthorized => {
                    clock(device, network).await.ok().and_then(|hub| Skew::between(SystemTime::now(), hub))
                }
                _ => None,
            },
        }
        .into()),
        Err(error) => Err(lost(device, error)),
    }
}

/// Translates the error of a hub connection.
pub(super) fn lost(device: &Device, error: ConnectionError) -> Error {
    let hub = device.credential.hub.to_string();
    let network = |problem: Problem| Error::network(HUB, hub.clone(), problem);
    match error {
        ConnectionError::Refused(refusal) => {
            HubError::Login { hub, identity: device.credential.identity.clone(), refusal, skew: None }.into()
        }
        ConnectionError::Protocol(problem) => Error::protocol(format!("the hub {hub}"), problem),
        ConnectionError::Network(error)
            if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() =>
        {
            network(Problem::because("it ended the connection", error))
        }
        ConnectionError::Network(error) => {
            network(Problem::because(format!("the connection was cut: {error}"), error))
        }
        ConnectionError::Silent(what) => network(format!("no answer to {what}").into()),
    }
}

/// Whether the error of [`lost`] is that the connection was ended, and not that the hub was silent.
pub(super) fn is_ended(error: &Error) -> bool {
    matches!(error, Error::Network { phase, problem, .. }
        if *phase == HUB && std::error::Error::source(problem).is_some())
}

/// Whether the hub may not know the device, or not with this credential. A wrong clock explains a refusal too.
pub(super) fn is_doubtful(error: &Error) -> bool {
    match error.fault() {
        Some(HubError::Login { refusal, skew: None, .. }) => {
            matches!(refusal, Refusal::UnknownId | Refusal::BadCredential | Refusal::NotAuthorized)
        }
        Some(HubError::WebSocket(upgrade)) => matches!(upgrade.status, 401 | 403 | 404),
        _ => false,
    }
}
