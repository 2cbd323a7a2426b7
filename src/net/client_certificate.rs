//! A certificate that proves who this machine is, with its private key.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::secret::Secret;

/// A client certificate and its key, ready to sign with.
#[derive(Clone)]
pub struct ClientCertificate(pub(super) Arc<SingleCertAndKey>);

impl ClientCertificate {
    /// Takes a certificate, with those that lead to its root behind it, and the key in PEM: PKCS#8, EC or RSA.
    ///
    /// # Errors
    /// What is wrong with the key; never what it holds.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &Secret) -> Result<Self, String> {
        if key.expose().contains("ENCRYPTED") {
            return Err("the key is encrypted, and there is nobody to ask for its passphrase".into());
        }
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|_| "it holds no private key in PEM (PKCS#8, EC or RSA)".to_owned())?;
        let provider = rustls::crypto::ring::default_provider();
        match CertifiedKey::from_der(chain, key, &provider) {
            Ok(certified) => Ok(Self(Arc::new(SingleCertAndKey::from(certified)))),
            Err(rustls::Error::InconsistentKeys(_)) => Err("the key is not this certificate's".into()),
            Err(_) => {
                Err("the key is of a kind that cannot be used: RSA, P-256, P-384 and Ed25519 can".into())
            }
        }
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}
