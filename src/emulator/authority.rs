//! The emulator's certification authority, and the server certificate it signs at each start.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::client_certificate::AnyClient;
use super::directory::Directory;
use crate::error::Result;
use crate::secret::Secret;
use crate::time::clock::Clock;

const DAY: Duration = Duration::from_secs(86_400);
/// Clients' clocks may be behind; they allow five minutes or so elsewhere too.
const BACKDATED: Duration = DAY;
const CA_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// Some clients refuse server certificates that are valid for more than 398 days.
const LEAF_LIFE: Duration = Duration::from_secs(396 * 86_400);

/// An authority: a certificate that clients trust, and the key that signs under it.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    certificate: String,
    key: Secret,
}

impl Authority {
    /// The authority that `directory` keeps in `ca.pem` and `ca.key`; a new one where it keeps none.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn open(directory: &Directory) -> Result<Self> {
        if let (Some(certificate), Some(key)) = (directory.read("ca.pem")?, directory.read("ca.key")?) {
            return Ok(Self { certificate: certificate.expose().to_owned(), key });
        }
        let authority = Self::generate().map_err(anyhow::Error::new)?;
        directory.write_secret("ca.key", &authority.key)?;
        directory.write_public("ca.pem", &authority.certificate)?;
        Ok(authority)
    }

    fn generate() -> std::result::Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = Self::params().self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: Secret::new(key.serialize_pem()) })
    }

    /// Its parameters never change: with the key they make the issuer again, without parsing the certificate.
    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "iotstream emulator CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (from, until) = validity(SystemTime::now(), CA_LIFE);
        params.not_before = from.into();
        params.not_after = until.into();
        params
    }

    /// A TLS server for `names`, which are DNS names and IP addresses. It speaks TLS 1.2 and 1.3 \[D]; with `p384_only`,
    /// the key exchange with secp384r1 alone.
    ///
    /// # Errors
    /// A name cannot stand in a certificate, or the authority's files are invalid.
    pub(super) fn server(&self, names: &[String], p384_only: bool) -> anyhow::Result<Arc<ServerConfig>> {
        let issuer = Issuer::new(Self::params(), KeyPair::from_pem(self.key.expose())?);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "iotstream emulator");
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // The computer's clock and not the hub's, which may be skewed: it is the clients' that check this.
        let (from, until) = validity(SystemTime::now(), LEAF_LIFE);
        params.not_before = from.into();
        params.not_after = until.into();
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &issuer)?;
        let chain = vec![leaf.der().clone(), CertificateDer::from_pem_slice(self.certificate.as_bytes())?];
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let mut provider = rustls::crypto::ring::default_provider();
        if p384_only {
            provider.kx_groups = vec![rustls::crypto::ring::kx_group::SECP384R1];
        }
        let provider = Arc::new(provider);
        let config = ServerConfig::builder_with_details(provider.clone(), Arc::new(Clock))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient::new(&provider)))
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

/// From when and until when a certificate is valid. The clock may be far off, a certificate's dates may not.
fn validity(now: SystemTime, life: Duration) -> (SystemTime, SystemTime) {
    // Clients refuse dates before 1970, and a year has four digits.
    let (first, last) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    let now = now.clamp(first, last);
    ((now - BACKDATED).max(first), (now + life).min(last))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_has_valid_dates_at_any_clock() {
        let year = Duration::from_secs(365 * 86_400);
        let key = KeyPair::generate().unwrap();
        for now in [UNIX_EPOCH - 10 * year, UNIX_EPOCH, UNIX_EPOCH + 56 * year, UNIX_EPOCH + 20_000 * year] {
            let (from, until) = validity(now, CA_LIFE);
            assert!(UNIX_EPOCH <= from && from < until, "{now:?}");
            let mut params = CertificateParams::default();
            params.not_before = from.into();
            params.not_after = until.into();
            assert!(params.self_signed(&key).is_ok(), "{now:?}");
        }
    }

    #[test]
    fn an_authority_is_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let open = || Authority::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let (first, second) = (open(), open());
        assert_eq!((first.certificate, first.key), (second.certificate, second.key));
        for (file, mode) in [("ca.key", 0o600), ("ca.pem", 0o644)] {
            let found = std::fs::metadata(temporary.path().join(file)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
    }

    #[test]
    fn an_authority_signs_after_a_restart() {
        let authority = Authority::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        assert!(authority.server(&names, false).is_ok());
        assert!(authority.server(&["ä".to_owned()], false).is_err());
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
