//! The request of a device, whichever protocol it came over, and the answer.

use hyper::StatusCode;
use serde_json::Value;

use super::problem::Problem;
use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::client_certificate::ClientCertificate;

/// The largest body: a message to the service is 96 KB at most \[D].
pub(super) const MAX_BODY: usize = 96 << 10;

/// The request of a device.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) id: &'a RegistrationId,
    pub(super) proof: Proof<'a>,
    pub(super) action: Action<'a>,
}

/// What a device proves its registration id with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof<'a> {
    pub(super) token: Option<&'a [u8]>,
    pub(super) certificate: Option<&'a ClientCertificate>,
}

/// What a device asks for.
#[derive(Debug)]
pub(super) enum Action<'a> {
    /// To be registered; with the body.
    Register(&'a [u8]),
    /// How a registration is going; with the id of the operation.
    Poll(String),
    /// Its registration as it is; with the body.
    LookUp(&'a [u8]),
}

impl Action<'_> {
    /// A word for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Action::Register(_) => "register",
            Action::Poll(_) => "poll",
            Action::LookUp(_) => "look up",
        }
    }
}

/// The answer to a request that is not refused.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When the device is to ask again, in seconds.
    pub(super) retry_after: Option<u32>,
    pub(super) body: Value,
    /// What it says, for the log.
    pub(super) summary: String,
}

/// Checks the body of a request to register or to look up: nothing, or an object \[S]\[C].
///
/// # Errors
/// It is neither, is for another registration, or asks for what the emulator has not.
pub(super) fn check_body(body: &[u8], id: &RegistrationId, looks_up: bool) -> Result<(), Problem> {
    // One client sends a blank [S].
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return Err(Problem::bad_request("The body is not a JSON object."));
    };
    match body.get("registrationId") {
        None | Some(Value::Null) => {}
        Some(Value::String(named)) if named.eq_ignore_ascii_case(id.as_str()) => {}
        Some(_) => {
            return Err(Problem::bad_request("The registrationId of the body is not the one registered."));
        }
    }
    let has = |member: &str| body.get(member).is_some_and(|value| !value.is_null());
    if has("tpm") {
        return Err(Problem::bad_request("The emulator has no attestation with a TPM."));
    }
    if has("csr") && looks_up {
        return Err(Problem::bad_request("A certificate is asked for with a registration alone."));
    }
    if has("csr") {
        return Err(Problem::bad_request("The emulator issues no certificates: leave the csr out."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_checked() {
        let check = |body: &str| check_body(body.as_bytes(), &"gw-07".parse().unwrap(), false);
        for body in ["", " ", "{}", r#"{"registrationId":"GW-07","payload":[1]}"#, r#"{"csr":null}"#] {
            assert!(check(body).is_ok(), "{body}");
        }
        for (body, problem) in [
            ("[]", "not a JSON object"),
            ("{", "not a JSON object"),
            (r#"{"registrationId":"gw-08"}"#, "registrationId"),
            (r#"{"registrationId":7}"#, "registrationId"),
            (r#"{"tpm":{"endorsementKey":"AAAA"}}"#, "TPM"),
            (r#"{"csr":"AAAA"}"#, "csr"),
        ] {
            let refused = check(body).unwrap_err();
            assert!(refused.message.contains(problem), "{body}: {refused:?}");
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
    }
}
