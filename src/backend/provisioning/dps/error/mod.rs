//! The errors of a Device Provisioning Service.

use std::time::Duration;

use super::phase::PROVISIONING;
use super::proto::{Explanation, Failure};
use crate::backend::listener::LONGEST_ASKED;
use crate::backend::malformed::Malformed;
use crate::backend::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT, Exit, Fault, Retry, escape};
use crate::text::duration;
use crate::time::phase::Phase;

const SEE_ENROLMENT: &str =
    "see the device's enrolment in the provisioning service, and the hubs linked to it";
const RELINK: &str =
    "link the hub to the provisioning service again: the hub refuses the service, and not the device";

/// An error of a Device Provisioning Service.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service refused a request. `skew` is set if the local clock is too far off.
    #[error("{}", refusal(.registration, .failure))]
    Refused { registration: Registration, failure: Box<Failure>, skew: Option<Skew> },
    /// The enrolment is for a device with a TPM.
    #[error("{} enrols {} with a TPM, which the agent does not support", .0.service, .0.id)]
    Tpm(Registration),
    /// The registration ended without a hub.
    #[error("{} cannot register {}{explanation}", .registration.service, .registration.id)]
    Failed { registration: Registration, explanation: Explanation },
    /// The enrolment is disabled.
    #[error("the enrolment of {} at {} is disabled", .0.id, .0.service)]
    Disabled(Registration),
    /// The service assigns no hub.
    #[error("{} assigns {} to no hub", .0.service, .0.id)]
    Unassigned(Registration),
    /// The service does not come to a decision.
    #[error("{} has not assigned {} in {}: the status is still '{}'", .registration.service, .registration.id, duration::show(*after), escape(status))]
    Pending { registration: Registration, status: String, after: Duration },
    /// The service answered with a status that is not documented.
    #[error("{} answers the registration of {} with the unknown status '{}'", .registration.service, .registration.id, escape(status))]
    UnknownStatus { registration: Registration, status: String },
    /// The service's answer cannot be used.
    #[error("{} broke the protocol: {problem}", .registration.service)]
    Malformed {
        registration: Registration,
        #[source]
        problem: Malformed,
    },
    /// The hub does not speak MQTT 3.1.1.
    #[error("{hub}, to which {} is assigned, has the connection profile '{}', and device streams need 'classic'", .registration.id, escape(profile))]
    WrongProfile { registration: Registration, hub: String, profile: String },
}

/// The registration that an error is about.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The service.
    pub service: String,
    /// The id scope.
    pub scope: String,
    /// The registration id.
    pub id: String,
    /// Whether the device proves it with a certificate.
    pub has_certificate: bool,
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Refused { failure, .. } => match failure.status {
                401 | 403 => Exit::Denied,
                404 => Exit::Config,
                429 => Exit::Unavailable,
                408 | 500..=599 => Exit::Temporary,
                _ => Exit::Protocol,
            },
            Error::Tpm(_) => Exit::Config,
            Error::Failed { .. } | Error::Disabled(_) | Error::Unassigned(_) | Error::WrongProfile { .. } => {
                Exit::Unavailable
            }
            Error::Pending { .. } => Exit::Temporary,
            Error::UnknownStatus { .. } | Error::Malformed { .. } => Exit::Protocol,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Refused { skew: Some(skew), .. } => skew.hint("service"),
            Error::Refused { registration, failure, .. } => return refusal_hint(registration, failure),
            Error::Tpm(_) => {
                "let the IoT Identity Service provision the device, and set identity = \"aziot\" in place of [provisioning]"
                    .into()
            }
            Error::Failed { explanation: Explanation { code: Some(400_208), .. }, .. } => {
                "link a hub to the provisioning service".into()
            }
            Error::Failed { explanation: Explanation { code: Some(400_209 | 401_000..=401_999), .. }, .. } => {
                RELINK.into()
            }
            Error::Failed { .. } => SEE_ENROLMENT.into(),
            Error::Disabled(_) => "enable the enrolment in the provisioning service".into(),
            Error::Unassigned(_) => SEE_ENROLMENT.into(),
            Error::Pending { .. } => {
                "see the allocation policy of the device's enrolment, and the hubs linked to the service; the agent keeps trying"
                    .into()
            }
            Error::UnknownStatus { .. } => {
                "check what answers there, and whether there is a newer version of iotstream".into()
            }
            Error::Malformed { .. } => "check what answers there, such as a proxy or a captive portal".into(),
            Error::WrongProfile { .. } => {
                "assign the device to a hub that speaks MQTT 3.1.1: one with the connection profile 'classic'".into()
            }
        })
    }

    fn retry(&self) -> Option<Retry> {
        None
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused { failure, .. } => failure.retry_after,
            _ => None,
        }
    }

    fn phase(&self) -> Phase {
        PROVISIONING
    }

    fn is_rejection(&self) -> bool {
        false
    }
}

/// The message of a refused request.
fn refusal(registration: &Registration, failure: &Failure) -> String {
    let Registration { service, scope, id, .. } = registration;
    let Failure { status, explanation, .. } = failure;
    match *status {
        401 => format!("{service} refuses the registration of {id}{explanation}"),
        404 => format!("{service} has no id scope {scope}, or no enrolment for {id} there{explanation}"),
        429 => format!("{service} throttles registrations{explanation}"),
        CAPTIVE_PORTAL => format!("a captive portal answers in place of {service} (511)"),
        status => format!("{service} answered {status}{explanation}"),
    }
}

fn refusal_hint(registration: &Registration, failure: &Failure) -> Option<String> {
    Some(match (failure.status, failure.retry_after) {
        (CAPTIVE_PORTAL, _) => CAPTIVE_PORTAL_HINT.into(),
        (_, Some(after)) => {
            let seconds = after.min(LONGEST_ASKED).as_secs().max(1);
            format!("the agent tries again after {seconds} s, as the service asks")
        }
        (401, _) if registration.has_certificate => {
            "check that the certificate's issuer is enrolled, that the certificate's file holds the intermediates too, \
             and that the clock is right"
                .into()
        }
        (401, _) => format!(
            "check that the key belongs to '{}', and that the clock is right: a key derived from a group's key depends \
             on the case of the registration id",
            registration.id
        ),
        (403, _) => "check that the network rules of the service allow this address".into(),
        (404, _) => "compare id-scope with the service's overview, and registration-id with its enrolments".into(),
        (300..=399, _) => "check for a proxy or a captive portal: the service does not redirect".into(),
        (408 | 429 | 500..=599, _) => "the agent keeps trying".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
