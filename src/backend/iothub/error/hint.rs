//! What to do about a hub's refusal.

use super::{Error, Upgrade};
use crate::backend::iothub::proto::{Code, HostName, HubFailure, Identity, Refusal};
use crate::backend::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT};

const KEEPS_TRYING: &str = "the agent keeps trying";
const REDIRECTED: &str = "check for a proxy or a captive portal: a hub does not redirect";

pub(super) fn hint(error: &Error) -> Option<String> {
    Some(match error {
        Error::Neither { error, .. } => return error.hint(),
        Error::Hub { hub, failure, skew, identity } => return hub_hint(hub, failure, *skew, identity),
        Error::Listing { failure, .. } => return listing_hint(failure),
        Error::Earlier { hint, .. } => return hint.clone(),
        Error::Unreported { failure, .. } => match (failure.status, failure.retry_after) {
            (_, Some(seconds)) => format!("try again in {seconds} s, as the server asks"),
            (CAPTIVE_PORTAL, _) => CAPTIVE_PORTAL_HINT.into(),
            (300..=399, _) => REDIRECTED.into(),
            (429, _) => "a hub allows few reads of twins a second: try again".into(),
            _ => return None,
        },
        Error::Rejected { stream, .. } => format!(
            "see the agent's log for the reason: no target for '{stream}', the target is down, or approval was refused"
        ),
        Error::Gateway(Upgrade { status: CAPTIVE_PORTAL, .. })
        | Error::WebSocket(Upgrade { status: CAPTIVE_PORTAL, .. }) => CAPTIVE_PORTAL_HINT.into(),
        Error::Gateway(Upgrade { retry_after: Some(after), .. })
        | Error::WebSocket(Upgrade { retry_after: Some(after), .. }) => {
            format!("try again in {} s, as the server asks", after.as_secs())
        }
        Error::Gateway(Upgrade { status: 401 | 403, .. }) => {
            "try again: a stream's token is valid for one minute and one use".into()
        }
        Error::Gateway(_) => "try again: each attempt asks for a new stream".into(),
        Error::WebSocket(Upgrade { status: 401 | 403, .. }) => {
            "check that the hub's network rules allow this address: no key has been sent yet".into()
        }
        Error::WebSocket(Upgrade { status: 429 | 500..=599, .. }) => KEEPS_TRYING.into(),
        Error::WebSocket(Upgrade { status: 300..=399, .. }) => REDIRECTED.into(),
        Error::WebSocket(_) => {
            "check that HostName is a hub's; transport = \"mqtt\" needs no WebSocket, but outgoing connections on 8883".into()
        }
        Error::Skewed { .. } => "set the clock: the hub allows five minutes".into(),
        Error::Login { skew: Some(skew), .. } => skew.hint("hub"),
        Error::Login { hub, refusal, .. } => login_hint(hub, *refusal),
        Error::ThrownOut { hub, identity, .. } => own_module(hub, identity),
    })
}

/// What to do about another client that logs in as `identity`.
pub(crate) fn own_module(hub: &str, identity: &Identity) -> String {
    match identity.module() {
        None => format!(
            "give the agent a module of its own: `az iot hub module-identity create -n {} -d '{}' -m iotstream`",
            resource(hub),
            identity.device()
        ),
        Some(_) => "stop the other agent, or give this one a module of its own".into(),
    }
}

/// The name of the hub's resource, for `az`.
fn resource(hub: &str) -> &str {
    HostName::parse(hub).map_or("HUB", |host| host.hub)
}

/// How a user sees whether a hub has device streams.
pub(crate) fn shows_streams(hub: &str) -> String {
    format!("`az iot hub devicestream show -n {}` shows whether it has them", resource(hub))
}

/// A cause of the refusal of a correct key.
fn local_auth(hub: &str) -> String {
    format!(
        "a hub can also refuse all keys: see `az iot hub show -n {} --query properties.disableLocalAuth`",
        resource(hub)
    )
}

fn hub_hint(hub: &str, failure: &HubFailure, skew: Option<Skew>, identity: &Identity) -> Option<String> {
    if let Some(skew) = skew {
        return Some(skew.hint("hub"));
    }
    Some(match (failure.status, failure.code) {
        (_, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED)) => {
            format!(
                "check that `iotstream agent` runs there; `--wait 2m` waits for it; `iotstream check {}` tests every phase",
                identity.device()
            )
        }
        (_, Some(Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND)) => {
            "check the id: ids are case-sensitive, and ssh lower-cases %h: see --name in `iotstream --help`"
                .into()
        }
        (_, Some(Code::DEVICE_DISABLED)) => "enable it in the hub's registry".into(),
        (_, Some(Code::QUOTA_EXCEEDED)) => {
            "wait: all device streams of a hub carry 300 MB a day, and the count resets at 00:00 UTC".into()
        }
        (_, Some(Code::NOT_IN_TIER | Code::FEATURE_NOT_SUPPORTED)) => format!(
            "use a hub of the Standard or Free tier, in a region that has the preview: {}",
            shows_streams(hub)
        ),
        (_, Some(Code::HUB_NOT_FOUND)) => {
            "check the HostName of the profile's connection string, and that the hub still exists".into()
        }
        (401, _) => format!(
            "check the credential: it needs a current key or token with the right ServiceConnect; {}",
            local_auth(hub)
        ),
        (429, _) => match failure.retry_after {
            Some(seconds) => format!(
                "a hub opens 5 new streams a second and carries 50 at a time: try again in {} s, or use --wait",
                seconds.max(1)
            ),
            None => {
                "a hub opens 5 new streams a second and carries 50 at a time: try again, or use --wait".into()
            }
        },
        (_, Some(Code::GATEWAY_TIMEOUT)) => "check the agent: it may be busy, or wait for an approval".into(),
        (403 | 404 | 504, None) => "check what answers there: the answer has no error code of a hub".into(),
        (CAPTIVE_PORTAL, _) => CAPTIVE_PORTAL_HINT.into(),
        (300..=399, _) => REDIRECTED.into(),
        (500..=599, _) => match failure.retry_after {
            Some(after) => {
                format!("try again in {} s, as the server asks", after.max(1))
            }
            None => "try again in a minute".into(),
        },
        _ => return None,
    })
}

fn listing_hint(failure: &HubFailure) -> Option<String> {
    Some(match (failure.retry_after, failure.status) {
        (Some(seconds), _) => format!("try again in {seconds} s, as the server asks"),
        (None, 401 | 403) => {
            "listing devices needs a policy with ServiceConnect or RegistryRead, and a correct clock".into()
        }
        (None, CAPTIVE_PORTAL) => CAPTIVE_PORTAL_HINT.into(),
        (None, 429) => "a hub allows few queries a minute: try again later".into(),
        _ => return None,
    })
}

fn login_hint(hub: &str, refusal: Refusal) -> String {
    match refusal {
        Refusal::NoMqtt311 => {
            "use a hub that speaks MQTT 3.1.1, which device streams need: a hub of the MQTT v5 profile does not".into()
        }
        Refusal::UnknownId => "compare the DeviceId with the hub's registry: ids are case-sensitive".into(),
        Refusal::Unavailable => KEEPS_TRYING.into(),
        Refusal::BadCredential | Refusal::NotAuthorized => format!(
            "check that the key is this device's, that the device is enabled, and that the clock is right to five minutes; {}",
            local_auth(hub)
        ),
        Refusal::NoStreams => format!("use a hub that has device streams: {}", shows_streams(hub)),
    }
}
