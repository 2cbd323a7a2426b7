//! The snapshot of every error of this backend, `tests/snapshots/relay-errors.txt`.

use std::fmt::Write;
use std::time::Duration;

use super::{Error, Refused};
use crate::backend::skew::Skew;
use crate::error::snapshot::same;

const TRACKED: &str = "TrackingId:0f3e_G52, SystemTracker:sb://contoso.servicebus.windows.net/factory/gw-07, Timestamp:11/26/2026 5:51:25 PM";

fn refused(status: u16, reason: &str) -> Refused {
    Refused {
        namespace: "contoso.servicebus.windows.net".into(),
        entity: "factory/gw-07".into(),
        device: "gw-07".into(),
        stream: "ssh".into(),
        status,
        reason: reason.into(),
        skew: None,
        retry_after: None,
    }
}

fn refusals() -> Vec<Refused> {
    let mut refusals: Vec<Refused> = [
        (400, format!("Malformed. {TRACKED}")),
        (400, "This endpoint is only for web-socket requests".into()),
        (400, "Rejected by user code".into()),
        (400, "what a proxy says\u{1b}[2J".into()),
        (401, format!("The token has an invalid signature. {TRACKED}")),
        (401, "Ip has been prevented to connect to the endpoint".into()),
        (401, "Unauthorized".into()),
        (401, "what a listener says".into()),
        (403, format!("The token is not for this path. {TRACKED}")),
        (403, "iotstream: no target has that name".into()),
        (403, "iotstream: the approval was refused\u{1b}[2J".into()),
        (404, format!("Endpoint does not exist. {TRACKED}")),
        (404, format!("There are no listeners connected for the endpoint. {TRACKED}")),
        (404, String::new()),
        (
            404,
            "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria".into(),
        ),
        (408, String::new()),
        (409, "iotstream: this is device gw-08".into()),
        (418, "what a listener says".into()),
        (429, "iotstream: there are 8 streams already".into()),
        (429, "Too Many Requests".into()),
        (302, "Found".into()),
        (500, format!("x. {TRACKED}")),
        (502, "Bad Gateway".into()),
        (503, "Service Unavailable".into()),
        (504, "Gateway Timeout".into()),
        (511, String::new()),
        (200, "OK".into()),
    ]
    .into_iter()
    .map(|(status, reason): (u16, String)| refused(status, &reason))
    .collect();
    let ten_minutes = Duration::from_secs(600);
    for skew in [Skew::Behind(ten_minutes), Skew::Ahead(ten_minutes), Skew::Ahead(Duration::from_secs(9))] {
        refusals
            .push(Refused { skew: Some(skew), ..refused(401, &format!("The token has expired. {TRACKED}")) });
    }
    refusals.push(Refused { retry_after: Some(Duration::from_secs(4)), ..refused(503, "") });
    refusals
}

#[test]
fn every_error_has_its_text() {
    let mut seen = String::new();
    let skewed = Error::Skewed { skew: Skew::Behind(Duration::from_secs(600)) };
    let errors = refusals().into_iter().map(|refused| Error::Refused(Box::new(refused))).chain([skewed]);
    for error in errors {
        let name = match &error {
            Error::Refused(refused) => format!("Refused, {:?}", refused.cause()),
            Error::Skewed { .. } => "Skewed".into(),
        };
        let error = crate::error::Error::from(error);
        let (exit, retry) = (error.exit(), if error.retry().is_some() { ", may be retried" } else { "" });
        let phase = error.phase().unwrap();
        writeln!(
            seen,
            "{name}: phase {phase}, exit status {} ({exit:?}){retry}\n{}",
            exit.code(),
            error.report()
        )
        .unwrap();
    }
    same("relay-errors.txt", &seen);
}

#[test]
fn only_a_missing_target_is_a_rejection_of_a_stream_for_measuring() {
    let is_rejection = |status, reason| {
        let error = crate::error::Error::from(refused(status, reason));
        matches!(error, crate::error::Error::Backend(fault) if fault.is_rejection())
    };
    assert!(is_rejection(403, "iotstream: no target has that name"));
    assert!(!is_rejection(403, "iotstream: the approval was refused"));
    assert!(!is_rejection(418, "no target"));
}

#[test]
fn a_long_phrase_is_cut() {
    let long = super::bounded(&"ä".repeat(5000));
    assert_eq!(long.chars().count(), super::LONGEST + 1);
}
