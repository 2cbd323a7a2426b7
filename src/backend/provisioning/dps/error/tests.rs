//! The snapshot of every error of provisioning, `tests/snapshots/dps-errors.txt`.

use std::time::Duration;

use super::{Error, Registration};
use crate::backend::malformed::Malformed;
use crate::backend::provisioning::dps::proto::{Explanation, Failure};
use crate::backend::skew::Skew;
use crate::error::snapshot::{report, same};

fn registration(has_certificate: bool) -> Registration {
    Registration {
        service: "global.azure-devices-provisioning.net".into(),
        scope: "0ne00000001".into(),
        id: "gw-07".into(),
        has_certificate,
    }
}

fn explanation(code: u64) -> Explanation {
    Explanation {
        code: Some(code),
        message: Some("what the service says\u{1b}".into()),
        tracking_id: Some("0f3e".into()),
    }
}

fn refused(status: u16, retry_after: Option<u64>, has_certificate: bool, skew: Option<Skew>) -> Error {
    let explanation = if matches!(status, 401 | 429 | 500) {
        explanation(u64::from(status) * 1000 + 2)
    } else {
        Explanation::default()
    };
    let retry_after = retry_after.map(Duration::from_secs);
    let failure = Box::new(Failure { status, explanation, retry_after });
    Error::Refused { registration: registration(has_certificate), failure, skew }
}

fn refusals() -> Vec<Error> {
    let mut refusals: Vec<Error> =
        [302, 400, 401, 403, 404, 408, 429, 500, 511].map(|status| refused(status, None, false, None)).into();
    refusals.push(refused(401, None, true, None));
    refusals.push(refused(401, None, false, Some(Skew::Behind(Duration::from_secs(600)))));
    refusals.push(refused(429, Some(7), false, None));
    refusals.push(refused(503, Some(7), false, None));
    refusals
}

/// Samples of the variant after `error`'s. The match makes a new variant without samples a compile error.
fn following(error: &Error) -> Vec<Error> {
    let registration = || registration(false);
    let status = || "shelved\u{1b}".to_owned();
    match error {
        Error::Refused { .. } => vec![Error::Tpm(registration())],
        Error::Tpm(_) => [400_208, 400_209, 401_002, 500_001]
            .map(|code| Error::Failed { registration: registration(), explanation: explanation(code) })
            .into(),
        Error::Failed { .. } => vec![Error::Disabled(registration())],
        Error::Disabled(_) => vec![Error::Unassigned(registration())],
        Error::Unassigned(_) => {
            let after = Duration::from_secs(300);
            vec![Error::Pending { registration: registration(), status: "assigning".into(), after }]
        }
        Error::Pending { .. } => {
            vec![Error::UnknownStatus { registration: registration(), status: status() }]
        }
        Error::UnknownStatus { .. } => {
            let problem = Malformed::new("its answer is not JSON");
            vec![Error::Malformed { registration: registration(), problem }]
        }
        Error::Malformed { .. } => vec![Error::WrongProfile {
            registration: registration(),
            hub: "contoso.azure-devices.net".into(),
            profile: "mqttV5".into(),
        }],
        Error::WrongProfile { .. } => vec![],
    }
}

#[test]
fn every_error_has_its_text() {
    same("dps-errors.txt", &report(refusals(), following));
}
