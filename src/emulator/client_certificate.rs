//! Client certificates, which are known by their thumbprints and not by who signed them \[D].

use std::fmt;

use data_encoding::HEXLOWER;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::net::{ServerStream, peer_certificates};

/// The SHA-256 of a certificate. The service takes SHA-1 too \[D]; this emulator does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Reads 64 hexadecimal digits, with or without the colons that openssl writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().replace(':', "").to_ascii_lowercase();
        HEXLOWER.decode(digits.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The certificate that a client has shown in the TLS handshake, and signed with, and those that it sent along.
#[derive(Clone, Debug)]
pub(super) struct ClientCertificate {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) intermediates: Vec<CertificateDer<'static>>,
}

impl ClientCertificate {
    /// What the client of a connection has shown.
    pub(super) fn of_peer<S>(connection: &ServerStream<S>) -> Option<Self> {
        let (leaf, intermediates) = peer_certificates(connection)?.split_first()?;
        let intermediates = intermediates.iter().map(|certificate| certificate.clone().into_owned());
        Some(Self { leaf: leaf.clone().into_owned(), intermediates: intermediates.collect() })
    }

    /// The thumbprint of the client's own certificate.
    pub(super) fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.leaf)
    }
}

/// Takes any certificate whose key the client has, and clients without one: the login decides whose it is.
#[derive(Debug)]
pub(super) struct AnyClient(WebPkiSupportedAlgorithms);

impl AnyClient {
    /// A verifier of the provider's signature algorithms.
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(certificate)?;
        let key = webpki::RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let of_scheme = self.0.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let mut algorithms = of_scheme.flat_map(|(_, algorithms)| *algorithms);
        let valid =
            algorithms.any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
        valid.then(HandshakeSignatureValid::assertion).ok_or(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The key of a certificate of any version: the service's tutorials make certificates of version 1 \[D].
fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(webpki::spki_for_anchor(&anchor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_read_with_and_without_colons() {
        let digits = "0F".repeat(32);
        let colons = ["0f"; 32].join(":");
        assert_eq!(Thumbprint::parse(&digits), Some(Thumbprint([15; 32])));
        assert_eq!(Thumbprint::parse(&colons), Thumbprint::parse(&digits));
        assert_eq!(Thumbprint([15; 32]).to_string(), digits.to_ascii_lowercase());
        // A SHA-1.
        assert_eq!(Thumbprint::parse(&"0f".repeat(20)), None);
    }
}
