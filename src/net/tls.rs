//! TLS, always verified: the one place that names the crypto provider and the trust roots.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use super::tls_stream::TlsStream;
use super::trust::Trust;
use super::{ClientCertificate, Endpoint};
use crate::clock::{self, Clock};
use crate::error::{Error, Result};
use crate::phase::Phase;

const CA_HINT: &str = "a company proxy that opens TLS, or an emulator, needs its CA named: --ca-file, or ca-file in the profile";

/// What this machine trusts, ready to dial with.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the system's roots and those in `ca_file`.
    ///
    /// # Errors
    /// When `ca_file` holds no certificates, or one that is of no use.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let extra = ca_file.map(read_certificates).transpose()?.unwrap_or_default();
        // Passed as a value: a process-wide default would have to be set before anything else.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = Trust::new(extra, provider.clone()).map_err(|error| match ca_file {
            Some(path) => unusable(path, format!("one of its certificates is of no use: {error}")),
            None => Error::Bug(error.to_string()),
        })?;
        let config = ClientConfig::builder_with_details(provider, Arc::new(Clock))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Bug(error.to_string()))?
            .dangerous() // The name of the only way to set a verifier; this one verifies.
            .with_custom_certificate_verifier(Arc::new(trust))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The same, and servers that ask for a certificate are shown this one.
    #[must_use]
    pub fn with_certificate(&self, certificate: &ClientCertificate) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.client_auth_cert_resolver = certificate.0.clone();
        Self(Arc::new(config))
    }

    /// Makes the handshake with `endpoint` over a connection to it.
    ///
    /// # Errors
    /// [`Error::Untrusted`] for its certificate, [`Error::Network`] for the rest.
    pub(super) async fn handshake<S>(&self, io: S, endpoint: &Endpoint) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = endpoint.to_string();
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|_| Error::Network {
            phase: Phase::Tls,
            target: target.clone(),
            problem: "this host name cannot be in a certificate".into(),
        })?;
        TlsStream::connect(self.0.clone(), name, io).await.map_err(|error| {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(problem)) => {
                    let (problem, hint) = certificate_problem(problem);
                    Error::Untrusted { target, problem, hint: hint.into() }
                }
                Some(rustls::Error::General(problem)) => Error::Credential {
                    source: "the system's trust roots".into(),
                    problem: problem.clone(),
                    hint: "install ca-certificates, or name a CA file with --ca-file".into(),
                },
                Some(problem) => Error::Network { phase: Phase::Tls, target, problem: problem.to_string() },
                None => Error::Network { phase: Phase::Tls, target, problem: error.to_string() },
            }
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn unusable(path: &Path, problem: String) -> Error {
    Error::File {
        path: path.to_owned(),
        line: None,
        problem,
        hint: "a CA file has one or more PEM certificates, from BEGIN CERTIFICATE to END CERTIFICATE".into(),
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |problem: String| unusable(path, problem);
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates =
        certificates.map_err(|error| wrong(format!("cannot read its certificates: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate".into()));
    }
    Ok(certificates)
}

/// What is wrong with a certificate, and what to do about it.
fn certificate_problem(error: &CertificateError) -> (String, &'static str) {
    const WRONG_CLOCK: &str = "the clock here is wrong: it is before this program was made; set it";
    let show = |time: &UnixTime| {
        clock::iso8601(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())).replace(".000Z", "Z")
    };
    let hint = |time: &UnixTime, otherwise| if clock::is_past(*time) { WRONG_CLOCK } else { otherwise };
    match error {
        CertificateError::UnknownIssuer => ("its issuer is not known here".into(), CA_HINT),
        CertificateError::ExpiredContext { time, not_after } => (
            format!("it expired at {}, and the clock here says {}", show(not_after), show(time)),
            hint(
                time,
                "set the clock here if it is ahead; if it is right, the server needs a new certificate",
            ),
        ),
        CertificateError::NotValidYetContext { time, not_before } => (
            format!("it is valid from {}, and the clock here says {}", show(not_before), show(time)),
            hint(
                time,
                "set the clock here if it is behind; if it is right, the server needs another certificate",
            ),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "it is for another name".into(),
            "is the HostName right, and does it lead to the hub? a proxy that opens TLS shows its own certificate",
        ),
        other => (other.to_string(), "is a proxy or another service answering there in place of the hub?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_told_from_an_old_certificate() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (made, now, later) = (at(1_795_000_000), at(1_796_000_000), at(4_000_000_000));
        for (error, problem, hint) in [
            (
                CertificateError::NotValidYetContext { time: at(0), not_before: made },
                "valid from 2026-11-18T11:06:40Z, and the clock here says 1970-01-01T00:00:00Z",
                "the clock here is wrong",
            ),
            (
                CertificateError::NotValidYetContext { time: made, not_before: now },
                "valid from 2026-11-30T00:53:20Z, and the clock here says 2026-11-18T11:06:40Z",
                "set the clock here if it is behind",
            ),
            (
                CertificateError::ExpiredContext { time: later, not_after: now },
                "expired at 2026-11-30T00:53:20Z, and the clock here says 2096-10-02T07:06:40Z",
                "set the clock here if it is ahead",
            ),
            (CertificateError::UnknownIssuer, "issuer is not known", "--ca-file"),
            (CertificateError::NotValidForName, "another name", "is the HostName right"),
        ] {
            let (said, advice) = certificate_problem(&error);
            assert!(said.contains(problem) && advice.contains(hint), "{said}: {advice}");
        }
    }
}
