//! The errors of a hub, its gateway and its devices.

mod hint;

pub(crate) use hint::{own_module, shows_streams};

use std::time::Duration;

use super::phase;
use super::proto::{Code, HubFailure, Identity, Refusal};
use crate::backend::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, Exit, Fault, Retry};
use crate::net;
use crate::time::backoff::retry_after;
use crate::time::phase::Phase;

/// An error of IoT Hub.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub answered a request for a stream with an error. `skew` is set if the local clock is too far off.
    #[error("{}", refusal(hub, identity, failure))]
    Hub { hub: String, identity: Identity, failure: Box<HubFailure>, skew: Option<Skew> },
    /// Neither the profile's default module nor the device itself opens the stream. `error` is that of the one with the
    /// agent, as far as it is known.
    #[error("{error}, and {other}")]
    Neither { error: Box<crate::error::Error>, other: String },
    /// The hub does not list its devices.
    #[error("{hub} does not list its devices: {}", listing(failure))]
    Listing { hub: String, failure: Box<HubFailure> },
    /// The hub does not tell what an identity reports.
    #[error("{hub} does not tell what {identity} reports: {}", listing(failure))]
    Unreported { hub: String, identity: Identity, failure: Box<HubFailure> },
    /// Another process could not read what an identity reports, a moment ago.
    #[error("{message}")]
    Earlier { message: String, hint: Option<String> },
    /// The device rejected the stream.
    #[error("{identity} rejected the stream '{stream}' through {hub}")]
    Rejected { hub: String, identity: Identity, stream: String },
    /// The streaming gateway refused the stream.
    #[error("gateway: {} refused the stream with {}", .0.server, .0.status)]
    Gateway(Upgrade),
    /// The hub refused the WebSocket that carries MQTT.
    #[error("hub: {} refused the agent's WebSocket with {}", .0.server, .0.status)]
    WebSocket(Upgrade),
    /// The hub refused the login of a device.
    #[error("{hub} refuses {identity}: {refusal}")]
    Login { hub: String, identity: Identity, refusal: Refusal, skew: Option<Skew> },
    /// The hub ends hub connections soon after their login, as it does when another client logs in.
    #[error(
        "another client logs in as {}, most likely: {hub} ended the last {times} hub connections soon after their login",
        identity.client_id()
    )]
    ThrownOut { hub: String, identity: Identity, times: u32 },
    /// The local clock is too far from the hub's.
    #[error("the clock here is {skew} the hub's")]
    Skewed { skew: Skew },
}

/// A refused WebSocket upgrade.
#[derive(Debug)]
pub struct Upgrade {
    pub server: String,
    pub status: u16,
    /// The server's `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl From<net::Refusal> for Upgrade {
    fn from(refusal: net::Refusal) -> Self {
        let retry_after = retry_after(&refusal.headers);
        Self { server: refusal.server.to_string(), status: refusal.status, retry_after }
    }
}

impl Error {
    /// The `error` of one identity of a device, after `other` of another one. An error that is not about an identity stays
    /// as it is.
    pub(crate) fn neither(error: crate::error::Error, other: &crate::error::Error) -> crate::error::Error {
        match (error.fault::<Self>(), other.fault::<Self>().and_then(Self::of_identity)) {
            (Some(Self::Hub { .. } | Self::Rejected { .. }), Some(other)) => {
                Self::Neither { error: Box::new(error), other }.into()
            }
            _ => error,
        }
    }

    /// What has become of the request for a stream of an identity, in short.
    pub(crate) fn of_identity(&self) -> Option<String> {
        Some(match self {
            Self::Hub { identity, failure, .. } => {
                let (verb, _) = failure.code.and_then(of_device)?;
                let code = failure.code.map_or_else(String::new, |code| format!(" ({code:?})"));
                format!("{identity} {verb}{code}")
            }
            Self::Rejected { identity, .. } => format!("{identity} rejected the stream"),
            _ => return None,
        })
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Neither { error, .. } => error.exit(),
            Error::Hub { failure, .. }
            | Error::Listing { failure, .. }
            | Error::Unreported { failure, .. } => match (failure.status, failure.code) {
                (_, Some(Code::QUOTA_EXCEEDED | Code::NOT_IN_TIER | Code::DEVICE_DISABLED)) => {
                    Exit::Unavailable
                }
                (_, Some(Code::HUB_NOT_FOUND)) => Exit::Config,
                (401 | 403, _) => Exit::Denied,
                (404 | 429 | 503, _) => Exit::Unavailable,
                (408 | 500..=599, _) => Exit::Temporary,
                _ => Exit::Protocol,
            },
            Error::Earlier { .. } => Exit::Temporary,
            Error::Rejected { .. } => Exit::Unavailable,
            Error::Gateway(upgrade) | Error::WebSocket(upgrade) => match upgrade.status {
                401 | 403 => Exit::Denied,
                404 | 408 | 409 | 429 | 500..=599 => Exit::Temporary,
                _ => Exit::Protocol,
            },
            Error::ThrownOut { .. } => Exit::Temporary,
            Error::Login { refusal: Refusal::NoMqtt311, .. } => Exit::Protocol,
            Error::Login { refusal: Refusal::Unavailable | Refusal::NoStreams, .. } => Exit::Unavailable,
            Error::Login { .. } | Error::Skewed { .. } => Exit::Denied,
        }
    }

    fn hint(&self) -> Option<String> {
        hint::hint(self)
    }

    fn retry(&self) -> Option<Retry> {
        let (status, is_offline, after) = match self {
            Error::Neither { error, .. } => return error.retry(),
            Error::Hub { failure, .. } => {
                let is_offline = matches!(failure.code, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED));
                (failure.status, is_offline, seconds(failure))
            }
            Error::Gateway(upgrade) | Error::WebSocket(upgrade) => {
                (upgrade.status, false, upgrade.retry_after)
            }
            _ => return None,
        };
        let worth = is_offline || matches!(status, 429 | 503);
        worth.then_some(Retry { is_throttled: status == 429, after })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Neither { error, .. } => error.retry_after(),
            Error::Hub { failure, .. }
            | Error::Listing { failure, .. }
            | Error::Unreported { failure, .. } => seconds(failure),
            Error::Gateway(upgrade) | Error::WebSocket(upgrade) => upgrade.retry_after,
            _ => None,
        }
    }

    fn phase(&self) -> Phase {
        match self {
            Error::Neither { error, .. } => error.phase().unwrap_or(phase::HUB),
            Error::Rejected { .. } => phase::DEVICE,
            Error::Hub { failure, .. } if failure.is_device_failure() => phase::DEVICE,
            Error::Gateway(_) => phase::GATEWAY,
            _ => phase::HUB,
        }
    }

    fn is_rejection(&self) -> bool {
        match self {
            Error::Neither { error, .. } => matches!(error.fault(), Some(Error::Rejected { .. })),
            error => matches!(error, Error::Rejected { .. }),
        }
    }
}

fn seconds(failure: &HubFailure) -> Option<Duration> {
    failure.retry_after.map(|seconds| Duration::from_secs(seconds.into()))
}

/// The message of a hub's answer.
fn refusal(hub: &str, identity: &Identity, failure: &HubFailure) -> String {
    let mut says_status = false;
    let message = match (failure.status, failure.code) {
        // Whichever module was asked for.
        (_, Some(Code::DEVICE_NOT_FOUND)) => {
            format!("device {} is not registered at {hub}", identity.device())
        }
        (_, Some(code)) if let Some((verb, at)) = of_device(code) => format!("{identity} {verb} {at} {hub}"),
        (_, Some(Code::QUOTA_EXCEEDED)) => format!("the daily quota of {hub} is used up"),
        (_, Some(Code::NOT_IN_TIER | Code::FEATURE_NOT_SUPPORTED)) => format!("{hub} has no device streams"),
        (_, Some(Code::HUB_NOT_FOUND)) => format!("there is no hub {hub}"),
        (401, _) => format!("{hub} refuses the credential"),
        (429, _) => format!("{hub} throttles new streams"),
        (CAPTIVE_PORTAL, _) => return format!("a captive portal answers in place of {hub} (511)"),
        (status, _) => {
            says_status = true;
            let message = failure.message.as_ref().map(|message| format!(": {message}"));
            format!("{hub} answered {status}{}", message.unwrap_or_default())
        }
    };
    // A status that has been said is not said again.
    let number = match failure.code {
        Some(code) => Some(format!("{code:?}")),
        None => Some(failure.status.to_string()).filter(|_| !says_status),
    };
    let id = failure.tracking_id.as_ref().map(|id| format!("tracking id {id}"));
    match number.into_iter().chain(id).collect::<Vec<_>>().join(", ") {
        details if details.is_empty() => message,
        details => format!("{message} ({details})"),
    }
}

/// What a code says of the device, and the preposition for its hub.
fn of_device(code: Code) -> Option<(&'static str, &'static str)> {
    Some(match code {
        Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED => ("is not connected", "to"),
        Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND => ("is not registered", "at"),
        Code::DEVICE_DISABLED => ("is disabled", "at"),
        Code::GATEWAY_TIMEOUT => ("did not answer in time", "through"),
        _ => return None,
    })
}

/// What the hub answered to a query.
fn listing(failure: &HubFailure) -> String {
    let message = failure.message.as_ref().map(|message| format!(", {message}"));
    let id = failure.tracking_id.as_ref().map(|id| format!(" (tracking id {id})"));
    format!("{}{}{}", failure.status, message.unwrap_or_default(), id.unwrap_or_default())
}

#[cfg(test)]
mod tests;
