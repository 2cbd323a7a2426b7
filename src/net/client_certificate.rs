//! The certificate and private key with which this machine authenticates to a server.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use zeroize::Zeroizing;

use super::pem::sections;
use super::private_key::kind;
use super::x509::{Facts, Validity, facts};
use crate::error::Problem;
use crate::text::content;

/// A client certificate and its private key.
#[derive(Clone)]
pub struct ClientCertificate {
    pub(super) resolver: Arc<SingleCertAndKey>,
    validity: Validity,
    common_name: Option<String>,
}

/// Which of the two is unusable: the problem and a hint.
#[derive(Debug)]
pub enum Unusable {
    Certificate(Problem, &'static str),
    Key(Problem, &'static str),
}

/// The supported keys, for errors.
const USABLE: &str = "RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519 can";
const KEY: &str = "it must hold the certificate's private key in PEM";
const CERTIFICATE: &str = "see it with openssl x509 -text -in FILE";

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
            let unusable = |problem| Unusable::Certificate(problem, CERTIFICATE);
            if belongs(&chain[index], &*key).map_err(unusable)? {
                let Facts { validity, common_name } = facts(&chain[index]).ok_or_else(|| {
                    unusable("the dates or the subject of its certificate cannot be read".into())
                })?;
                chain[..=index].rotate_right(1);
                let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
                return Ok(Self { resolver, validity, common_name });
            }
        }
        Err(Unusable::Key("the key is not this certificate's".into(), KEY))
    }

    /// When the certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The common name of the certificate's subject.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
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

/// Whether the certificates are the same, to which the key belongs.
impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        let chain = |certificate: &Self| certificate.resolver.resolve(&[], &[]).map(|key| key.cert.clone());
        chain(self) == chain(other)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("common_name", &self.common_name())
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};

    use super::*;
    use crate::net::{Endpoint, Tls, read_certificates};

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
    fn says_what_its_own_certificate_says() {
        let (other, _) = made();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gw-07");
        (params.not_before, params.not_after) = (date_time_ymd(2026, 11, 26), date_time_ymd(2027, 3, 1));
        let own = params.self_signed(&key).unwrap().der().clone();
        let certificate = ClientCertificate::new(vec![other, own], key.serialize_pem().as_bytes()).unwrap();
        let at = |text| humantime::parse_rfc3339(text).unwrap();
        let (not_before, not_after) = (at("2026-11-26T00:00:00Z"), at("2027-03-01T00:00:00Z"));
        assert_eq!(certificate.validity(), Validity { not_before, not_after });
        assert_eq!(certificate.common_name(), Some("gw-07"));
    }

    /// A server that knows the root alone accepts the certificate only if the intermediate is sent too.
    #[tokio::test]
    async fn sends_the_intermediates_of_the_file() {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
        let intermediate =
            CertifiedIssuer::signed_by(ca("intermediate"), KeyPair::generate().unwrap(), &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::default().signed_by(&key, &intermediate).unwrap();
        let server_key = KeyPair::generate().unwrap();
        let server =
            CertificateParams::new(vec!["hub".into()]).unwrap().signed_by(&server_key, &root).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str, pem: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let ca_file = written("ca.pem", root.pem());
        let chain = written("dev.pem", leaf.pem() + &intermediate.pem());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            );
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
        for (chain, is_accepted) in
            [(read_certificates(&chain).unwrap(), true), (vec![leaf.der().clone()], false)]
        {
            let certificate = ClientCertificate::new(chain, key.serialize_pem().as_bytes()).unwrap();
            let tls = Tls::new(Some(&ca_file)).unwrap().with_certificate(&certificate);
            let (client, server) = tokio::io::duplex(65_536);
            let endpoint = Endpoint::new("hub", 443);
            let (accepted, _connected) =
                tokio::join!(acceptor.accept(server), tls.handshake(client, &endpoint));
            assert_eq!(accepted.is_ok(), is_accepted, "{:?}", accepted.err());
        }
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
