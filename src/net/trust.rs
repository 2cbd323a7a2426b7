//! Whom this machine trusts: the system's roots and the user's own, read while the network is waited for.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// The platform's verifier, on whose making a connection need not wait: reading the system's bundle takes longer than
/// all else before the first byte, and is done by the time a certificate is there to verify.
pub(super) struct Trust {
    reading: Mutex<Option<JoinHandle<Result<Verifier, Error>>>>,
    verifier: OnceLock<Result<Verifier, Error>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Begins to read the system's roots; `extra` are trusted besides.
    pub(super) fn read(extra: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        let reading = std::thread::spawn(move || Verifier::new_with_extra_roots(extra, provider));
        Self { reading: Mutex::new(Some(reading)), verifier: OnceLock::new(), algorithms }
    }

    fn verifier(&self) -> Result<&Verifier, Error> {
        let finish = || {
            let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take();
            let result = reading.and_then(|reading| reading.join().ok());
            result.unwrap_or_else(|| Err(Error::General("the system's trust roots cannot be read".into())))
        };
        self.verifier.get_or_init(finish).as_ref().map_err(Clone::clone)
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
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
