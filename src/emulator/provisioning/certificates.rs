//! The certificates that an enrolment group accepts.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::client_certificate::ClientCertificate;
use crate::error::Result;
use crate::net::{facts, read_certificates};

/// Certification authorities whose devices an enrolment group accepts.
#[derive(Debug)]
pub(super) struct Authorities(Vec<TrustAnchor<'static>>);

impl Authorities {
    /// Reads the certificates of authorities from a file in PEM.
    ///
    /// # Errors
    /// The file cannot be read, or a certificate in it is invalid.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let certificates = read_certificates(path)?;
        let anchors = certificates.iter().map(webpki::anchor_from_trusted_cert);
        let anchors = anchors.map(|anchor| anchor.map(|anchor| anchor.to_owned()));
        let anchors = anchors.collect::<std::result::Result<_, _>>().map_err(anyhow::Error::new)?;
        Ok(Self(anchors))
    }

    /// Checks that a device's certificate leads to one of the authorities, through those that the device has sent along
    /// \[D], and is for this registration.
    ///
    /// # Errors
    /// Why the device is refused.
    pub(super) fn check(
        &self,
        certificate: &ClientCertificate,
        id: &RegistrationId,
        now: SystemTime,
    ) -> std::result::Result<(), &'static str> {
        let algorithms = default_provider().signature_verification_algorithms;
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let leaf = EndEntityCert::try_from(&certificate.leaf).map_err(|error| reason(&error))?;
        leaf.verify_for_usage(
            algorithms.all,
            &self.0,
            &certificate.intermediates,
            now,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(|error| reason(&error))?;
        match common_name(&certificate.leaf) {
            Some(name) if name.eq_ignore_ascii_case(id.as_str()) => Ok(()),
            Some(_) => Err("the common name of its certificate is not the registration id"),
            None => Err("its certificate has no common name"),
        }
    }
}

/// The common name of a certificate's subject.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    facts(certificate)?.common_name
}

fn reason(error: &Error) -> &'static str {
    match error {
        // The second: the issuer has the name of an authority, and another key.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => {
            "its certificate does not lead to a known authority: it may have to send intermediate ones along"
        }
        Error::CertExpired { .. } => "a certificate in its chain has expired",
        Error::CertNotValidYet { .. } => "a certificate in its chain is not valid yet",
        Error::UnsupportedCertVersion => "a certificate in its chain is of X.509 version 1",
        Error::CaUsedAsEndEntity => "its certificate is a CA's",
        _ => "its chain of certificates is invalid",
    }
}
