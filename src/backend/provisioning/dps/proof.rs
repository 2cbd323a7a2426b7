//! How a device proves its registration id.

use std::time::{Duration, SystemTime};

use super::proto::{RegistrationId, token};
use crate::backend::iothub::listener::{Authentication, read_client_certificate};
use crate::backend::settings::Attestation;
use crate::backend::signature::mac;
use crate::error::{Error, Exposure, Problem, Result};
use crate::net::ClientCertificate;
use crate::secret::Secret;
use crate::text::content::BLANK;
use crate::time::clock::{UnixSeconds, unix_seconds};

/// The life of a token, as in Microsoft's Python SDK \[S]. Each request has its own.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// The proof of a registration id.
#[derive(Debug, PartialEq)]
pub(super) enum Proof {
    /// The device's symmetric key, base64.
    Key(Secret),
    /// A client certificate, whose common name is the registration id.
    Certificate(ClientCertificate),
}

impl Proof {
    /// The proof in a configuration, and its source. Tolerated exposures of the certificate's key are added to `warnings`.
    ///
    /// # Errors
    /// Returns an error if the key is not base64, or the certificate cannot be read. The error does not contain the key.
    pub(super) fn read(attestation: &Attestation, warnings: &mut Vec<Exposure>) -> Result<(Self, String)> {
        match attestation {
            Attestation::Key { source, key } => {
                let key = Secret::new(key.expose().trim_matches(BLANK));
                mac(&key).map_err(|problem| {
                    let hint = "it must be the key of the enrolment, or the one that `iotstream agent --derive-key` prints";
                    Error::credential(source, Problem::of(problem), hint)
                })?;
                Ok((Self::Key(key), source.clone()))
            }
            Attestation::Certificate(files) => {
                let source = format!("file {}", files.certificate.display());
                Ok((Self::Certificate(read_client_certificate(files, warnings)?), source))
            }
        }
    }

    /// The value of `Authorization`; `None` with a certificate.
    ///
    /// # Errors
    /// Returns an error if the key cannot sign.
    pub(super) fn authorization(&self, scope: &str, id: &RegistrationId) -> Result<Option<Secret>> {
        let Self::Key(key) = self else { return Ok(None) };
        let expiry = UnixSeconds(unix_seconds(SystemTime::now()).0 + TOKEN_LIFE.as_secs());
        let token = token::sign(scope, id, expiry, key);
        token.map(Some).map_err(|problem| Error::Bug(format!("a checked key does not sign: {problem}")))
    }

    /// The proof of the device's identity at its hub, which is the same \[D].
    pub(super) fn authentication(&self) -> Authentication {
        match self {
            Self::Key(key) => Authentication::Key(key.clone()),
            Self::Certificate(certificate) => Authentication::Certificate(certificate.clone()),
        }
    }

    /// The certificate for the TLS handshake.
    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::Key(_) => None,
        }
    }
}
