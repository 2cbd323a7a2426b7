//! TLS settings: the crypto provider and the trust roots. Certificates are always verified.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::kx_group;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, InvalidMessage, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};

use super::pem::{Section, sections};
use super::tls_stream::{self, TlsStream};
use super::trust::{NoRoots, Trust};
use super::untrusted::explain;
use super::{ClientCertificate, Endpoint};
use crate::error::{Error, Problem, Result};
use crate::platform::private_file::read_plain;
use crate::text::content;
use crate::time::clock::Clock;
use crate::time::phase::Phase;

/// A TLS client's configuration.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    trust: Arc<Trust>,
}

impl Tls {
    /// Trusts the system's roots and those in `ca_file`.
    ///
    /// # Errors
    /// Returns [`Error::File`] if `ca_file` cannot be read or contains no certificates or an invalid one.
    pub fn new(ca_file: Option<&Path>) -> Result<Self> {
        let extra = ca_file.map(read_certificates).transpose()?.unwrap_or_default();
        // A process-wide default would have to be set before any other use of rustls.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = Trust::new(extra, provider.clone()).map_err(|error| match ca_file {
            Some(path) => {
                let problem = format!("its certificates cannot be used: {error}");
                Error::file(path, Problem::because(problem, error), CERTIFICATES)
            }
            None => Error::Bug(error.to_string()),
        })?;
        Self::with(provider, Arc::new(trust))
    }

    fn with(provider: Arc<CryptoProvider>, trust: Arc<Trust>) -> Result<Self> {
        let config = ClientConfig::builder_with_details(provider, Arc::new(Clock))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Bug(error.to_string()))?
            .dangerous() // Any custom verifier is set through this method; this one verifies.
            .with_custom_certificate_verifier(trust.clone())
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), trust })
    }

    /// Settings for servers that want the key exchange with secp384r1: any other costs another round trip. They show no
    /// client certificate, and share no sessions with these.
    ///
    /// # Errors
    /// Returns [`Error::Bug`] if the settings contradict each other.
    pub fn preferring_p384(&self) -> Result<Self> {
        let mut provider = CryptoProvider::clone(self.config.crypto_provider());
        provider.kx_groups = vec![kx_group::SECP384R1, kx_group::X25519, kx_group::SECP256R1];
        Self::with(Arc::new(provider), self.trust.clone())
    }

    /// The same settings with `certificate` for servers that request one.
    #[must_use]
    pub fn with_certificate(&self, certificate: &ClientCertificate) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.client_auth_cert_resolver = certificate.resolver.clone();
        Self { config: Arc::new(config), trust: self.trust.clone() }
    }

    /// Makes the handshake with `endpoint` over `io`.
    ///
    /// # Errors
    /// Returns [`Error::Untrusted`] for the server's certificate, [`Error::Credential`] without trust roots and
    /// [`Error::Network`] otherwise.
    pub(super) async fn handshake<S>(&self, io: S, endpoint: &Endpoint) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = endpoint.to_string();
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| {
            let problem = Problem::because("this host name cannot be in a certificate", error);
            Error::network(Phase::TLS, endpoint, problem)
        })?;
        tls_stream::connect(self.config.clone(), name, io).await.map_err(|error| {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(rustls::Error::InvalidCertificate(problem)) => {
                    let (problem, hint) = explain(problem);
                    let hint = hint.unwrap_or_else(|| {
                        format!("see it with openssl s_client -showcerts -connect {target}")
                    });
                    Error::Untrusted { target, problem: Problem::because(problem, error), hint: Some(hint) }
                }
                Some(rustls::Error::Other(other))
                    if let Some(problem) = other.0.downcast_ref::<NoRoots>() =>
                {
                    Error::credential(
                        "the system's trust roots",
                        Problem::because(problem.0.clone(), error),
                        "install ca-certificates, or name a CA file with --ca-file",
                    )
                }
                Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                    Error::network(Phase::TLS, target, Problem::because("it does not speak TLS", error))
                }
                _ => Error::network(Phase::TLS, target, error),
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
    "it needs one or more certificates in PEM, from BEGIN CERTIFICATE to END CERTIFICATE";

/// Reads the certificates in a file: PEM, or one in DER.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be read or contains no certificates. The error says what it contains.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |problem: Problem| Error::file(path, problem, CERTIFICATES);
    let bytes = read_plain(path).map_err(|error| wrong(error.into()))?;
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
                "extract its certificates: openssl {tool}{form} -in '{}' -out ca.pem",
                path.display()
            );
            return Err(Error::file(path, format!("it is {kind}"), hint));
        }
        _ => sections(&bytes).map_err(|problem| wrong(problem.into()))?,
    };
    let certificates: Vec<CertificateDer<'static>> = found
        .into_iter()
        .filter(is_certificate)
        // openssl appends the trusted uses to a TRUSTED CERTIFICATE.
        .map(|section| content::first_element(&section.der).unwrap_or(&section.der).to_vec().into())
        .collect();
    if certificates.is_empty() {
        return Err(wrong(match content::kind(&bytes) {
            Some("empty") => "it is empty".into(),
            Some(kind) => format!("it is {kind}, and holds no certificate").into(),
            None => "it holds no certificate".into(),
        }));
    }
    for (index, certificate) in certificates.iter().enumerate() {
        if let Err(error) = RootCertStore::empty().add(certificate.clone()) {
            let count = certificates.len();
            let problem = format!("certificate {} of {count} in it cannot be read: {error}", index + 1);
            return Err(wrong(Problem::because(problem, error)));
        }
    }
    Ok(certificates)
}

const CERTIFICATE: &[u8] = b"BEGIN CERTIFICATE";

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
