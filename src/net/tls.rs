//! TLS, always verified: the one place that names the crypto provider and the trust roots.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, InvalidMessage, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};

use super::pem::{Section, sections};
use super::tls_stream::{self, TlsStream};
use super::trust::{NoRoots, Trust};
use super::untrusted::explain;
use super::{ClientCertificate, Endpoint};
use crate::error::{Error, Result};
use crate::platform::private_file::read_plain;
use crate::text::content;
use crate::time::clock::Clock;
use crate::time::phase::Phase;

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
            Some(path) => unusable(path, format!("its certificates cannot be used: {error}"), CERTIFICATES),
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
            phase: Phase::TLS,
            target: target.clone(),
            problem: "this host name cannot be in a certificate".into(),
        })?;
        tls_stream::connect(self.0.clone(), name, io).await.map_err(|error| {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(problem)) => {
                    let (problem, mut hint) = explain(problem);
                    if hint.is_empty() {
                        hint = format!("openssl s_client -showcerts -connect {target} shows it");
                    }
                    Error::Untrusted { target, problem, hint }
                }
                Some(rustls::Error::Other(other))
                    if let Some(problem) = other.0.downcast_ref::<NoRoots>() =>
                {
                    Error::Credential {
                        source: "the system's trust roots".into(),
                        problem: problem.0.clone(),
                        hint: "install ca-certificates, or name a CA file with --ca-file".into(),
                    }
                }
                Some(problem) => {
                    let problem = match problem {
                        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                            "it does not speak TLS".into()
                        }
                        other => other.to_string(),
                    };
                    Error::Network { phase: Phase::TLS, target, problem }
                }
                None => Error::Network { phase: Phase::TLS, target, problem: error.to_string() },
            }
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

const CERTIFICATES: &str =
    "one or more certificates in PEM are needed, from BEGIN CERTIFICATE to END CERTIFICATE";

fn unusable(path: &Path, problem: String, hint: &str) -> Error {
    Error::File { path: path.to_owned(), line: None, problem, hint: hint.into() }
}

/// Reads the certificates of a file: PEM, or one in DER.
///
/// # Errors
/// When it cannot be read or holds none, and what it holds.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |problem: String| unusable(path, problem, CERTIFICATES);
    let bytes = read_plain(path).map_err(|error| wrong(error.to_string()))?;
    let is_certificate = |section: &Section| {
        matches!(section.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
    };
    let found = match content::kind(&bytes) {
        Some(kind @ ("a PKCS#12 file (.pfx, .p12)" | "a PKCS#7 bundle"))
            if !contains(&bytes, CERTIFICATE) =>
        {
            let tool = if kind.contains("12") { "pkcs12 -nokeys" } else { "pkcs7 -print_certs" };
            let form = if kind.contains('7') && bytes.first() == Some(&0x30) { " -inform der" } else { "" };
            let hint = format!(
                "openssl {tool}{form} -in '{}' -out ca.pem takes its certificates out",
                path.display()
            );
            return Err(unusable(path, format!("it is {kind}"), &hint));
        }
        _ => sections(&bytes).map_err(wrong)?,
    };
    let certificates: Vec<CertificateDer<'static>> = found
        .into_iter()
        .filter(is_certificate)
        // Behind a trusted certificate, openssl writes what it is trusted for.
        .map(|section| content::first_element(&section.der).unwrap_or(&section.der).to_vec().into())
        .collect();
    if certificates.is_empty() {
        return Err(wrong(match content::kind(&bytes) {
            Some("empty") => "it is empty".into(),
            Some(kind) => format!("it is {kind}, and holds no certificate"),
            None => "it holds no certificate".into(),
        }));
    }
    for (index, certificate) in certificates.iter().enumerate() {
        if let Err(error) = RootCertStore::empty().add(certificate.clone()) {
            let count = certificates.len();
            return Err(wrong(format!("certificate {} of {count} in it cannot be read: {error}", index + 1)));
        }
    }
    Ok(certificates)
}

const CERTIFICATE: &[u8] = b"BEGIN CERTIFICATE";

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
