//! What to do about a hub's refusal.

use super::{Error, Upgrade};
use crate::backend::iothub::proto::{Code, HubFailure, Identity, Refusal};
use crate::backend::iothub::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT};

pub(super) fn hint(error: &Error) -> Option<String> {
    Some(match error {
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
        Error::Login { refusal, .. } => login_hint(*refusal).into(),
    })
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

fn login_hint(refusal: Refusal) -> &'static str {
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
