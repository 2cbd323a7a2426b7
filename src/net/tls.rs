//! TLS, always verified: the one place that names the crypto provider and the trust roots.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};

use super::tls_stream::TlsStream;
use super::trust::Trust;
use super::{ClientCertificate, Endpoint};
use crate::error::{Error, Result};
use crate::phase::Phase;

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
        let config = ClientConfig::builder_with_provider(provider)
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
                    Error::Untrusted { target, problem: certificate_problem(problem) }
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

fn certificate_problem(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its issuer is not known here".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: is the clock right?".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name".into()
        }
        other => other.to_string(),
    }
}
