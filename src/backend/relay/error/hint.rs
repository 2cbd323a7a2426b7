//! What to do about a relay's refusal.

use super::{Error, Refused};
use crate::backend::relay::proto::{Cause, OTHER_DEVICE};
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT};

pub(super) fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Refused(refused) => refusal_hint(refused),
        Error::Skewed { .. } => Some("set the clock: the relay allows five minutes".into()),
    }
}

fn refusal_hint(refused: &Refused) -> Option<String> {
    if let Some(skew) = refused.guilty_skew() {
        return Some(skew.hint("relay"));
    }
    let Refused { namespace, entity, device, status, retry_after, .. } = refused;
    Some(match refused.cause() {
        _ if *status == CAPTIVE_PORTAL => CAPTIVE_PORTAL_HINT.into(),
        Cause::Agent if *status == OTHER_DEVICE => format!(
            "check that the agent of {device} runs and has this name, which is `device` in its configuration: \
             several devices share '{entity}'"
        ),
        Cause::Agent | Cause::Listener => return None,
        Cause::NoEntity => {
            "check `entity` in the profile and the device's name, or create it: az relay hyco create".into()
        }
        Cause::NoListener | Cause::NoAllowedListener => format!(
            "check the name, and that `iotstream agent` runs there; `--wait 2m` waits for it; `iotstream check {device}` tests every phase"
        ),
        Cause::LateListener => {
            "check the agent: it may be busy, or its network may not reach the relay's gateways".into()
        }
        Cause::Firewall => "add the public address of this network to the namespace's IP firewall".into(),
        Cause::NotWebSocket => format!(
            "check for a proxy that removes the Upgrade header: it must let WebSockets to {namespace} through"
        ),
        Cause::Token => format!(
            "check the credential: it needs a current key or token with the right Send for '{entity}'"
        ),
        Cause::Foreign => {
            "check what answers there: the answer has no tracking id of Azure Relay, and may be a listener's or a proxy's"
                .into()
        }
        Cause::Throttled | Cause::Trouble if let Some(after) = retry_after => {
            format!("try again in {} s, as the server asks", after.as_secs().max(1))
        }
        Cause::Throttled => "try again, or use --wait".into(),
        Cause::Trouble => "try again in a minute".into(),
        Cause::Other if matches!(status, 300..=399) => {
            "check for a proxy or a captive portal: a relay does not redirect".into()
        }
        Cause::Other => return None,
    })
}
