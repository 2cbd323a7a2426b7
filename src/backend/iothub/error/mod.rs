//! The errors of a hub, its gateway and its devices.

use std::fmt;
use std::time::Duration;

use super::phase;
use super::proto::{Code, HubFailure, Identity, Refusal};
use super::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT, Exit, Fault, Retry};
use crate::net;
use crate::time::backoff::retry_after;
use crate::time::phase::Phase;

/// An error of IoT Hub.
#[derive(Debug)]
pub enum Error {
    /// The hub answered a request for a stream with an error. `skew` is set if the local clock is too far off.
    Hub { hub: String, identity: Identity, failure: Box<HubFailure>, skew: Option<Skew> },
    /// The hub does not list its devices.
    Listing { hub: String, failure: Box<HubFailure> },
    /// The device rejected the stream.
    Rejected { hub: String, identity: Identity, stream: String },
    /// The streaming gateway refused the stream.
    Gateway(Upgrade),
    /// The hub refused the WebSocket that carries MQTT.
    WebSocket(Upgrade),
    /// The hub refused the login of a device.
    Login { hub: String, identity: Identity, refusal: Refusal, skew: Option<Skew> },
    /// The local clock is too far from the hub's.
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

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Hub { failure, .. } | Error::Listing { failure, .. } => {
                match (failure.status, failure.code) {
                    (_, Some(Code::QUOTA_EXCEEDED | Code::NOT_IN_TIER | Code::DEVICE_DISABLED)) => {
                        Exit::Unavailable
                    }
                    (_, Some(Code::HUB_NOT_FOUND)) => Exit::Config,
                    (401 | 403, _) => Exit::Denied,
                    (404 | 429 | 503, _) => Exit::Unavailable,
                    (408 | 500..=599, _) => Exit::Temporary,
                    _ => Exit::Protocol,
                }
            }
            Error::Rejected { .. } => Exit::Unavailable,
            Error::Gateway(upgrade) | Error::WebSocket(upgrade) => match upgrade.status {
                401 | 403 => Exit::Denied,
                404 | 408 | 409 | 429 | 500..=599 => Exit::Temporary,
                _ => Exit::Protocol,
            },
            Error::Login { refusal: Refusal::NoMqtt311, .. } => Exit::Protocol,
            Error::Login { refusal: Refusal::Unavailable | Refusal::NoStreams, .. } => Exit::Unavailable,
            Error::Login { .. } | Error::Skewed { .. } => Exit::Denied,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Hub { failure, skew, identity, .. } => return hub_hint(failure, *skew, identity),
            Error::Listing { failure, .. } => return listing_hint(failure),
            Error::Rejected { stream, .. } => format!(
                "its agent has no target for '{stream}', the target is down, or approval was refused: its log says which"
            ),
            Error::Gateway(Upgrade { status: CAPTIVE_PORTAL, .. })
            | Error::WebSocket(Upgrade { status: CAPTIVE_PORTAL, .. }) => CAPTIVE_PORTAL_HINT.into(),
            Error::Gateway(Upgrade { retry_after: Some(after), .. })
            | Error::WebSocket(Upgrade { retry_after: Some(after), .. }) => {
                format!("it says when to try again: in {} s", after.as_secs())
            }
            Error::Gateway(Upgrade { status: 401 | 403, .. }) => {
                "the token of a stream lives for a minute and is good for one use: try again".into()
            }
            Error::Gateway(_) => "try again; the stream is asked for anew each time".into(),
            Error::WebSocket(Upgrade { status: 401 | 403, .. }) => {
                "it has seen no key yet: do the hub's network rules let this address in?".into()
            }
            Error::WebSocket(Upgrade { status: 429 | 500..=599, .. }) => {
                "the hub's own trouble: the agent goes on trying".into()
            }
            Error::WebSocket(_) => {
                "is HostName a hub's? transport = \"mqtt\" needs no WebSocket, but a way out on 8883".into()
            }
            Error::Login { skew: Some(skew), .. } | Error::Skewed { skew } => skew.hint(),
            Error::Login { refusal, .. } => refused(*refusal).into(),
        })
    }

    fn retry(&self) -> Option<Retry> {
        let (status, is_offline, after) = match self {
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
            Error::Hub { failure, .. } | Error::Listing { failure, .. } => seconds(failure),
            Error::Gateway(upgrade) | Error::WebSocket(upgrade) => upgrade.retry_after,
            _ => None,
        }
    }

    fn phase(&self) -> Phase {
        match self {
            Error::Rejected { .. } => phase::DEVICE,
            Error::Hub { failure, .. } if failure.is_device_failure() => phase::DEVICE,
            Error::Gateway(_) => phase::GATEWAY,
            _ => phase::HUB,
        }
    }

    fn is_rejection(&self) -> bool {
        matches!(self, Error::Rejected { .. })
    }
}

fn seconds(failure: &HubFailure) -> Option<Duration> {
    failure.retry_after.map(|seconds| Duration::from_secs(seconds.into()))
}

fn hub_hint(failure: &HubFailure, skew: Option<Skew>, identity: &Identity) -> Option<String> {
    if let Some(skew) = skew {
        return Some(skew.hint());
    }
    Some(match (failure.status, failure.code) {
        (_, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED)) => {
            format!(
                "is `iotstream agent` running there? `--wait 2m` waits for it; `iotstream check {}` looks at every hop",
                identity.device()
            )
        }
        (_, Some(Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND)) | (404, None) => {
            "ids are case-sensitive, and ssh lower-cases %h: see --name in `iotstream --help`".into()
        }
        (_, Some(Code::DEVICE_DISABLED)) => "it was disabled in the hub's registry".into(),
        (_, Some(Code::QUOTA_EXCEEDED)) => {
            "device streams carry 300 MB a day and hub in all; the count starts anew at 00:00 UTC".into()
        }
        (_, Some(Code::NOT_IN_TIER)) => {
            "device streams need a hub of the Standard or Free tier, in a region that has the preview".into()
        }
        (_, Some(Code::HUB_NOT_FOUND)) => {
            "is the HostName of the profile's connection string right, and does the hub still exist?".into()
        }
        (401 | 403, _) => {
            "the profile needs the key of a policy with ServiceConnect, as it is now: was it regenerated?"
                .into()
        }
        (429, _) => match failure.retry_after {
            Some(seconds) => format!(
                "a hub opens 5 new streams a second and carries 50: try again in {} s, or use --wait",
                seconds.max(1)
            ),
            None => "a hub opens 5 new streams a second and carries 50: try again, or use --wait".into(),
        },
        (504, _) => {
            "the device is online but did not answer: is its agent busy, or waiting for somebody's approval?"
                .into()
        }
        (CAPTIVE_PORTAL, _) => CAPTIVE_PORTAL_HINT.into(),
        (300..=399, _) => {
            "a hub redirects nobody: is a proxy or a captive portal answering in its place?".into()
        }
        (500..=599, _) => match failure.retry_after {
            Some(after) => {
                format!("the hub's own trouble: it says to try again in {} s", after.max(1))
            }
            None => "the hub's own trouble: try again in a minute".into(),
        },
        _ => return None,
    })
}

fn listing_hint(failure: &HubFailure) -> Option<String> {
    Some(match (failure.retry_after, failure.status) {
        (Some(seconds), _) => format!("it says when to try again: in {seconds} s"),
        (None, 401 | 403) => {
            "listing devices takes a policy with ServiceConnect or RegistryRead, and a clock that is right"
                .into()
        }
        (None, CAPTIVE_PORTAL) => CAPTIVE_PORTAL_HINT.into(),
        (None, 429) => "a hub allows few queries a minute: try again later".into(),
        _ => return None,
    })
}

fn refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoMqtt311 => {
            "device streams need a hub that speaks MQTT 3.1.1: one for MQTT 5 alone has none"
        }
        Refusal::UnknownId => "compare the DeviceId with the hub's registry: ids are case-sensitive",
        Refusal::Unavailable => "the hub's own trouble: the agent goes on trying",
        Refusal::BadCredential | Refusal::NotAuthorized => {
            "is the key this device's own, is the device enabled, and is the clock right to five minutes?"
        }
        Refusal::NoStreams => {
            "device streams need a hub that has the preview: `az iot hub devicestream show -n HUB` shows whether it has"
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Hub { hub, identity, failure, .. } => {
                let mut says_status = false;
                match (failure.status, failure.code) {
                    (_, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED)) => {
                        write!(f, "{identity} is not connected to {hub}")?;
                    }
                    (_, Some(Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND)) => {
                        write!(f, "{identity} is not registered at {hub}")?;
                    }
                    (_, Some(Code::DEVICE_DISABLED)) => write!(f, "{identity} is disabled at {hub}")?,
                    (_, Some(Code::QUOTA_EXCEEDED)) => write!(f, "the daily quota of {hub} is used up")?,
                    (_, Some(Code::NOT_IN_TIER)) => write!(f, "{hub} has no device streams")?,
                    (_, Some(Code::HUB_NOT_FOUND)) => write!(f, "there is no hub {hub}")?,
                    (401 | 403, _) => write!(f, "{hub} refuses the credential")?,
                    (429, _) => write!(f, "{hub} throttles new streams")?,
                    (CAPTIVE_PORTAL, _) => {
                        return write!(f, "a captive portal answers in place of {hub} (511)");
                    }
                    (504, _) => write!(f, "{identity} did not answer in time through {hub}")?,
                    _ => {
                        says_status = true;
                        write!(f, "{hub} answered {}", failure.status)?;
                        if let Some(message) = &failure.message {
                            write!(f, ": {message}")?;
                        }
                    }
                }
                // The text may already contain the status.
                let number = match failure.code {
                    Some(code) => Some(format!("{code:?}")),
                    None => Some(failure.status.to_string()).filter(|_| !says_status),
                };
                let id = failure.tracking_id.as_ref().map(|id| format!("tracking id {id}"));
                match number.into_iter().chain(id).collect::<Vec<_>>().join(", ") {
                    details if details.is_empty() => Ok(()),
                    details => write!(f, " ({details})"),
                }
            }
            Error::Listing { hub, failure } => {
                write!(f, "{hub} does not list its devices: {}", failure.status)?;
                if let Some(message) = &failure.message {
                    write!(f, ", {message}")?;
                }
                match &failure.tracking_id {
                    Some(id) => write!(f, " (tracking id {id})"),
                    None => Ok(()),
                }
            }
            Error::Rejected { identity, stream, hub } => {
                write!(f, "{identity} rejected the stream '{stream}' through {hub}")
            }
            Error::Gateway(Upgrade { server, status, .. }) => {
                write!(f, "gateway: {server} refused the stream with {status}")
            }
            Error::WebSocket(Upgrade { server, status, .. }) => {
                write!(f, "hub: {server} refused the agent's WebSocket with {status}")
            }
            Error::Login { hub, identity, refusal, .. } => write!(f, "{hub} refuses {identity}: {refusal}"),
            Error::Skewed { skew } => write!(f, "the clock here is {skew} the hub's"),
        }
    }
}

#[cfg(test)]
mod tests;
