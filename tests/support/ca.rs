//! Certification authorities, and the certificates that they sign for devices.

use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// A certification authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

/// A device's certificate and key.
pub struct Leaf {
    pub der: CertificateDer<'static>,
    pub key: KeyPair,
    pem: String,
}

impl Ca {
    pub fn root(name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// One that this one has signed.
    pub fn intermediate(&self, name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        (params, KeyPair::generate().unwrap())
    }

    /// Signs a device's certificate.
    pub fn sign(&self, params: &CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { der: certificate.der().clone(), key, pem: certificate.pem() }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }
}

impl Leaf {
    /// Its SHA-256.
    pub fn thumbprint(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(&self.der))
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// The parameters of a certificate with this common name; without one where it is empty.
pub fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "contoso");
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}
