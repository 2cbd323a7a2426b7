//! What to do about a hub's refusal.

use super::{Error, Upgrade};
use crate::backend::iothub::proto::{Code, HubFailure, Identity, Refusal};
use crate::backend::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT};

const KEEPS_TRYING: &str = "the agent keeps trying";
const REDIRECTED: &str = "check for a proxy or a captive portal: a hub does not redirect";

pub(super) fn hint(error: &Error) -> Option<String> {
    Some(match error {
        Error::Hub { failure, skew, identity, .. } => return hub_hint(failure, *skew, identity),
        Error::Listing { failure, .. } => return listing_hint(failure),
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
        Error::Login { refusal, .. } => login_hint(*refusal).into(),
        Error::ThrownOut { identity, .. } => match identity.module() {
            None => format!(
                "give the agent a module of its own: `az iot hub module-identity create -n HUB -d '{}' -m iotstream`",
                identity.device()
            ),
            Some(_) => "stop the other agent, or give this one a module of its own".into(),
        },
    })
}

fn hub_hint(failure: &HubFailure, skew: Option<Skew>, identity: &Identity) -> Option<String> {
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
        (_, Some(Code::NOT_IN_TIER)) => {
            "use a hub of the Standard or Free tier, in a region that has the preview".into()
        }
        (_, Some(Code::HUB_NOT_FOUND)) => {
            "check the HostName of the profile's connection string, and that the hub still exists".into()
        }
        (401, _) => {
            "check the credential: it needs a current key or token with the right ServiceConnect".into()
        }
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

fn login_hint(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoMqtt311 => "use a hub that speaks MQTT 3.1.1: device streams need it",
        Refusal::UnknownId => "compare the DeviceId with the hub's registry: ids are case-sensitive",
        Refusal::Unavailable => KEEPS_TRYING,
        Refusal::BadCredential | Refusal::NotAuthorized => {
            "check that the key is this device's, that the device is enabled, and that the clock is right to five minutes"
        }
        Refusal::NoStreams => {
            "use a hub that has the preview: `az iot hub devicestream show -n HUB` shows whether it does"
        }
    }
}
