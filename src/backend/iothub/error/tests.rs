//! The snapshot of every error of this backend, `tests/snapshots/iothub-errors.txt`.

use std::time::Duration;

use super::{Error, Upgrade};
use crate::backend::iothub::proto::{Code, HubFailure, Identity, Refusal};
use crate::backend::skew::Skew;
use crate::error::snapshot::{report, same};

const HUB: &str = "contoso.azure-devices.net";
const TEN_MINUTES: Duration = Duration::from_secs(600);

fn text(text: &str) -> String {
    text.to_owned()
}

fn device() -> Identity {
    Identity::new("gw-07", None).unwrap()
}

fn failure(status: u16, code: Option<Code>) -> Box<HubFailure> {
    Box::new(HubFailure {
        status,
        code,
        message: Some(text("what the hub says\u{1b}")),
        tracking_id: Some(text("0f3e")),
        retry_after: (status == 429 && code.is_some()).then_some(4),
    })
}

fn hub(status: u16, code: Option<Code>, skew: Option<Skew>) -> Error {
    Error::Hub { hub: text(HUB), identity: device(), failure: failure(status, code), skew }
}

fn hub_failures() -> Vec<Error> {
    let mut failures: Vec<Error> = [
        (400, Some(Code::ARGUMENT_INVALID)),
        (401, Some(Code::HUB_NOT_FOUND)),
        (401, Some(Code::UNAUTHORIZED_ACCESS)),
        (401, Some(Code::UNAUTHORIZED)),
        (401, None),
        (403, Some(Code::QUOTA_EXCEEDED)),
        (403, Some(Code::NOT_IN_TIER)),
        (403, Some(Code::DEVICE_DISABLED)),
        (403, None),
        (404, Some(Code::DEVICE_NOT_FOUND)),
        (404, Some(Code::MODULE_NOT_FOUND)),
        (404, Some(Code::FEATURE_NOT_SUPPORTED)),
        (404, Some(Code::DEVICE_NOT_ONLINE)),
        (404, Some(Code::DEVICE_CLOSED)),
        (302, None),
        (404, None),
        (408, None),
        (429, Some(Code::THROTTLED)),
        (429, None),
        (500, None),
        (503, None),
        (504, Some(Code::GATEWAY_TIMEOUT)),
        (504, None),
        (511, None),
    ]
    .into_iter()
    .map(|(status, code)| hub(status, code, None))
    .collect();
    failures.push(hub(401, Some(Code::UNAUTHORIZED), Some(Skew::Behind(TEN_MINUTES))));
    failures.push(hub(401, Some(Code::UNAUTHORIZED), Some(Skew::Ahead(TEN_MINUTES))));
    failures
}

/// An identity of a device, and the one that was asked before it.
fn both() -> Vec<Error> {
    let of = |module, status, code| Error::Hub {
        hub: text(HUB),
        identity: Identity::new("gw-07", module).unwrap(),
        failure: failure(status, Some(code)),
        skew: None,
    };
    let absent = || of(Some("iotstream"), 404, Code::MODULE_NOT_FOUND);
    let rejected = || Error::Rejected { identity: device(), stream: text("ssh"), hub: text(HUB) };
    [
        (of(None, 404, Code::DEVICE_NOT_ONLINE), absent()),
        (of(None, 404, Code::DEVICE_NOT_FOUND), absent()),
        (rejected(), absent()),
        (of(Some("iotstream"), 504, Code::GATEWAY_TIMEOUT), rejected()),
    ]
    .map(|(error, other)| Error::Neither {
        error: Box::new(error.into()),
        other: other.of_identity().unwrap(),
    })
    .into()
}

fn listings() -> Vec<Error> {
    [401, 429, 500, 511]
        .map(|status| Error::Listing { hub: text(HUB), failure: failure(status, None) })
        .into()
}

fn unreported() -> Vec<Error> {
    [(403, None), (429, Some(Code::THROTTLED)), (429, None), (500, None)]
        .map(|(status, code)| Error::Unreported {
            hub: text(HUB),
            identity: device(),
            failure: failure(status, code),
        })
        .into()
}

fn upgrades() -> Vec<Error> {
    let upgrade = |server: &str, (status, seconds): (u16, Option<u64>)| Upgrade {
        server: text(server),
        status,
        retry_after: seconds.map(Duration::from_secs),
    };
    let gateway = [401, 403, 404, 409, 429, 500, 511, 200].map(|status| (status, None));
    let gateway = gateway.into_iter().chain([(429, Some(4))]);
    let hub = [(302, None), (401, None), (403, None), (404, None), (429, None), (503, Some(4))];
    gateway
        .map(|answer| Error::Gateway(upgrade("gateway.azure-devices.net:443", answer)))
        .chain(hub.map(|answer| Error::WebSocket(upgrade("contoso.azure-devices.net:443", answer))))
        .collect()
}

fn logins() -> Vec<Error> {
    [
        (Refusal::NoMqtt311, None),
        (Refusal::UnknownId, None),
        (Refusal::Unavailable, None),
        (Refusal::BadCredential, None),
        (Refusal::NotAuthorized, None),
        (Refusal::NotAuthorized, Some(Skew::Ahead(TEN_MINUTES))),
        (Refusal::NoStreams, None),
    ]
    .map(|(refusal, skew)| Error::Login {
        hub: text(HUB),
        identity: Identity::new("gw-07", Some("camera")).unwrap(),
        refusal,
        skew,
    })
    .into()
}

/// Samples of the variant after `error`'s. The match makes a new variant without samples a compile error.
fn following(error: &Error) -> Vec<Error> {
    match error {
        Error::Hub { .. } => both(),
        Error::Neither { .. } => listings(),
        Error::Listing { .. } => unreported(),
        Error::Unreported { .. } => {
            vec![Error::Earlier {
                message: text("what another process says"),
                hint: Some(text("what it suggests")),
            }]
        }
        Error::Earlier { .. } => {
            vec![Error::Rejected { identity: device(), stream: text("ssh"), hub: text(HUB) }]
        }
        Error::Rejected { .. } => upgrades(),
        Error::Gateway(_) | Error::WebSocket(_) => logins(),
        Error::Login { .. } => [None, Some("camera")]
            .map(|module| Error::ThrownOut {
                hub: text(HUB),
                identity: Identity::new("gw-07", module).unwrap(),
                times: 3,
            })
            .into(),
        Error::ThrownOut { .. } => vec![Error::Skewed { skew: Skew::Behind(TEN_MINUTES) }],
        Error::Skewed { .. } => vec![],
    }
}

#[test]
fn every_error_has_its_text() {
    same("iothub-errors.txt", &report(hub_failures(), following));
}
