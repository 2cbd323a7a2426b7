//! The trust roots: the user's own and the system's, which are read only when needed.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// A verifier that trusts the user's own roots and the platform's. With own roots, the platform's are read only if the
/// own ones do not verify a certificate. Without, a thread reads them during the network round trips, because that takes
/// longer than all other work before the first byte.
pub(super) struct Trust {
    own: Option<Arc<WebPkiServerVerifier>>,
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    reading: Mutex<Option<JoinHandle<Result<Verifier, Error>>>>,
    platform: OnceLock<Result<Verifier, Error>>,
}

/// The platform's roots cannot be loaded: the reason.
#[derive(Debug)]
pub(super) struct NoRoots(pub(super) String);

impl fmt::Display for NoRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoRoots {}

impl Trust {
    /// Trusts `extra` and the system's roots.
    ///
    /// # Errors
    /// Returns rustls's error if a certificate in `extra` cannot be a trust root.
    pub(super) fn new(
        extra: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let own = if extra.is_empty() {
            None
        } else {
            let mut roots = RootCertStore::empty();
            extra.iter().try_for_each(|root| roots.add(root.clone()))?;
            let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
            Some(builder.build().map_err(|error| Error::General(error.to_string()))?)
        };
        let reading = own.is_none().then(|| {
            let provider = provider.clone();
            std::thread::spawn(move || Verifier::new(provider))
        });
        Ok(Self { own, extra, provider, reading: Mutex::new(reading), platform: OnceLock::new() })
    }

    fn platform(&self) -> Result<&Verifier, Error> {
        let finish = || {
            let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take();
            match reading.map(JoinHandle::join) {
                Some(Ok(verifier)) => verifier,
                Some(Err(_)) => Err(Error::General("they cannot be read".into())),
                None => Verifier::new_with_extra_roots(self.extra.clone(), self.provider.clone()),
            }
        };
        let no_roots = |error: &Error| Error::Other(OtherError(Arc::new(NoRoots(error.to_string()))));
        self.platform.get_or_init(finish).as_ref().map_err(no_roots)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |verifier: &dyn ServerCertVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match &self.own {
            Some(own) if let Ok(verified) = verify(&**own) => Ok(verified),
            // The platform's verifier also trusts the own roots: it may build a chain that webpki cannot.
            _ => verify(self.platform()?),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
