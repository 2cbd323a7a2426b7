//! Whether a device is the one whose registration id it gives.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::certificates::common_name;
use super::enrolments::{Enrolments, Means};
use super::request::Proof;
use crate::backend::iothub::proto::Identity;
use crate::backend::provisioning::dps::proto::{RegistrationId, key, token::Token};
use crate::emulator::client_certificate::ClientCertificate;
use crate::emulator::iothub::Authentication;
use crate::secret::Secret;
use crate::time::clock;

/// The names of the enrolment groups.
const KEY_GROUP: &str = "emulator-key";
const CERTIFICATE_GROUP: &str = "emulator-certificate";

/// A device that has proved its registration id.
#[derive(Debug)]
pub(super) struct Attested {
    /// The device of an individual enrolment.
    pub(super) device: Option<Identity>,
    /// How it authenticates at the hub: with the same key \[D] or the same certificate.
    pub(super) authentication: Authentication,
    /// The name and the value of the member of a registration that tells the attestation \[R].
    pub(super) member: (&'static str, Value),
}

impl Enrolments {
    /// Checks what a device proves its registration id with.
    ///
    /// # Errors
    /// Why the device is refused.
    pub(super) fn attest(
        &self,
        id: &RegistrationId,
        proof: Proof<'_>,
        now: SystemTime,
    ) -> Result<Attested, &'static str> {
        if let Some(individual) = self.individual(id) {
            let device = Some(individual.device.clone());
            return match &individual.means {
                Means::Key(key) => {
                    self.check_token(id, key, proof.token, now)?;
                    let authentication = with_key(key.clone())?;
                    Ok(Attested { device, authentication, member: ("symmetricKey", json!({})) })
                }
                Means::Certificate(thumbprint) => {
                    let shown = proof.certificate.filter(|shown| shown.thumbprint() == *thumbprint);
                    let shown = shown.ok_or("it has not shown the certificate that it is enrolled with")?;
                    Ok(Attested { device, ..with_certificate(shown, None) })
                }
            };
        }
        match (proof.token, proof.certificate, &self.authorities) {
            (Some(token), _, _) => {
                let key = key::derive(&self.group_key, id).map_err(|_| "the key of the group is invalid")?;
                self.check_token(id, &key, Some(token), now)?;
                let member = ("symmetricKey", json!({ "enrollmentGroupId": KEY_GROUP }));
                Ok(Attested { device: None, authentication: with_key(key)?, member })
            }
            (None, Some(certificate), Some(authorities)) => {
                authorities.check(certificate, id, now)?;
                Ok(with_certificate(certificate, Some(CERTIFICATE_GROUP)))
            }
            (None, Some(_), None) => Err("no enrolment takes its certificate: see --dps-ca"),
            (None, None, _) => Err("there is neither a token nor a certificate"),
        }
    }

    fn check_token(
        &self,
        id: &RegistrationId,
        key: &Secret,
        token: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        let token = token.ok_or("there is no token")?;
        let token = std::str::from_utf8(token).ok().and_then(|text| Token::parse(text).ok());
        let token = token.ok_or("the token is malformed")?;
        if !token.is_signed_by(key) {
            return Err("the signature does not match");
        }
        // Microsoft's Python client sends no `skn` [M], so it cannot be required.
        if !token.is_for(&self.scope, id) {
            return Err("the token is for another registration");
        }
        if token.expiry() <= clock::unix_seconds(now) {
            return Err("the token has expired");
        }
        Ok(())
    }
}

fn with_key(key: Secret) -> Result<Authentication, &'static str> {
    Authentication::with_key(key).map_err(|_| "the system has no randomness")
}

fn with_certificate(certificate: &ClientCertificate, group: Option<&str>) -> Attested {
    let thumbprint = certificate.thumbprint();
    let name = common_name(&certificate.leaf).unwrap_or_default();
    let mut member = json!({
        "certificateInfo": {
            "subjectName": format!("CN={name}"),
            "sha256Thumbprint": thumbprint.to_string().to_ascii_uppercase(),
        },
    });
    if let Some(group) = group {
        member["enrollmentGroupId"] = group.into();
    }
    let authentication = Authentication::SelfSigned(thumbprint);
    Attested { device: None, authentication, member: ("x509", member) }
}
