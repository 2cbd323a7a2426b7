//! The certificate and private key with which this machine authenticates to a server.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use zeroize::Zeroizing;

use super::pem::sections;
use super::private_key::kind;
use crate::error::Problem;
use crate::text::content;

/// A client certificate and its private key.
#[derive(Clone)]
pub struct ClientCertificate(pub(super) Arc<SingleCertAndKey>);

/// Which of the two is unusable: the problem and a hint.
#[derive(Debug)]
pub enum Unusable {
    Certificate(Problem, &'static str),
    Key(Problem, &'static str),
}

/// The supported keys, for errors.
const USABLE: &str = "RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519 can";
const KEY: &str = "it must hold the certificate's private key in PEM";

impl ClientCertificate {
    /// Pairs a certificate chain with the key in `key_file`: PKCS#8, EC or RSA. The chain may be in any order.
    ///
    /// # Errors
    /// Returns [`Unusable`] if either cannot be used or they do not belong together. The error never contains key
    /// material.
    pub fn new(mut chain: Vec<CertificateDer<'static>>, key_file: &[u8]) -> Result<Self, Unusable> {
        let der = private_key(key_file)?;
        let unknown = |problem: Problem| Unusable::Key(problem, KEY);
        let key = PrivateKeyDer::try_from(der.to_vec())
            .map_err(|_| unknown("its private key is damaged, or neither PKCS#8 nor EC nor RSA".into()))?;
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(key).map_err(|error| {
            let text = match kind(&der) {
                Some((kind, false)) => format!("the key is {kind}, which cannot be used: {USABLE}"),
                Some((kind, true)) => format!("the key is {kind} and cannot be read: {error}"),
                None => format!("the key cannot be used: {error}"),
            };
            unknown(Problem::because(text, error))
        })?;
        // TLS sends the key's own certificate first; a file may have it anywhere.
        for index in 0..chain.len() {
            if belongs(&chain[index], &*key).map_err(|problem| {
                Unusable::Certificate(problem, "see it with openssl x509 -text -in FILE")
            })? {
                chain[..=index].rotate_right(1);
                return Ok(Self(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))));
            }
        }
        Err(Unusable::Key("the key is not this certificate's".into(), KEY))
    }
}

fn private_key(file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    // The error below names this format.
    let sections = match sections(file) {
        Err(_) if matches!(content::kind(file), Some("a PKCS#12 file (.pfx, .p12)")) => Vec::new(),
        sections => sections.map_err(|problem| Unusable::Key(problem.into(), KEY))?,
    };
    let Some(found) = sections.into_iter().find(|section| section.label.ends_with("PRIVATE KEY")) else {
        let (problem, hint) = match content::kind(file) {
            Some("empty") => ("it is empty".into(), KEY),
            Some(kind @ "a PKCS#12 file (.pfx, .p12)") => {
                (format!("it is {kind}"), "extract the key: openssl pkcs12 -in FILE -nocerts -nodes -out KEY")
            }
            Some(kind) => (format!("it is {kind}, and holds no private key"), KEY),
            None => ("it holds no private key in PEM (PKCS#8, EC or RSA)".into(), KEY),
        };
        return Err(Unusable::Key(problem.into(), hint));
    };
    if found.encrypted {
        return Err(Unusable::Key(
            "the key is encrypted, and an agent cannot ask for its passphrase".into(),
            "remove the passphrase: openssl pkey -in KEY -out PLAIN",
        ));
    }
    if found.label == "OPENSSH PRIVATE KEY" {
        return Err(Unusable::Key("it is an ssh private key, not a certificate's".into(), KEY));
    }
    Ok(found.der)
}

/// Whether the certificate is the key's. It is parsed as a trust anchor because only that accepts X.509 version 1, which
/// openssl writes for a request without extensions. rustls parses only version 3, but sends any certificate.
fn belongs(certificate: &CertificateDer<'static>, key: &dyn SigningKey) -> Result<bool, Problem> {
    let Some(public) = key.public_key() else { return Ok(true) };
    let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|error| {
        Problem::because(format!("one of its certificates cannot be read: {error}"), error)
    })?;
    Ok(webpki::spki_for_anchor(&anchor) == public)
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made() -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        (certificate.der().clone(), key)
    }

    #[test]
    fn accepts_a_key_in_any_format() {
        let (certificate, key) = made();
        let pem = key.serialize_pem();
        let certificate_pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            data_encoding::BASE64.encode(&certificate)
        );
        for file in [
            pem.clone().into_bytes(),
            format!("{certificate_pem}{pem}").into(),
            pem.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            key.serialize_der(),
            pem.replace("PRIVATE KEY", "EC PRIVATE KEY").into(),
        ] {
            assert!(ClientCertificate::new(vec![certificate.clone()], &file).is_ok());
        }
        // The key's certificate is second.
        let (other, _) = made();
        assert!(ClientCertificate::new(vec![other, certificate], pem.as_bytes()).is_ok());
    }

    #[test]
    fn errors_name_what_is_unusable() {
        let (certificate, key) = made();
        let (_, other) = made();
        let pem = key.serialize_pem();
        let key_is = |file: &str| match ClientCertificate::new(vec![certificate.clone()], file.as_bytes()) {
            Err(Unusable::Key(problem, _)) => problem.to_string(),
            other => panic!("{file}: {other:?}"),
        };
        for (file, problem) in [
            (String::new(), "it is empty"),
            (other.serialize_pem(), "the key is not this certificate's"),
            ("x".into(), "it holds no private key in PEM (PKCS#8, EC or RSA)"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".into(), "it is a public key, and holds no private key"),
            (pem.replace("BEGIN P", "BEGIN ENCRYPTED P").replace("END P", "END ENCRYPTED P"), "the key is encrypted, and an agent cannot ask for its passphrase"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA\n-----END RSA PRIVATE KEY-----".into(),
                "the key is encrypted, and an agent cannot ask for its passphrase",
            ),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----".into(), "its private key is damaged, or neither PKCS#8 nor EC nor RSA"),
            (pem[..100].into(), "the private key in line 1 has no END"),
        ] {
            assert_eq!(key_is(&file), problem);
        }
        let broken = CertificateDer::from(vec![0x30, 0]);
        assert!(matches!(
            ClientCertificate::new(vec![broken], pem.as_bytes()),
            Err(Unusable::Certificate(..))
        ));
    }
}
