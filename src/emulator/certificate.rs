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

use crate::secret::Secret;
use crate::time::clock::Clock;

use super::client_certificate::AnyClient;

const DAY: Duration = Duration::from_secs(86_400);
/// Clients' clocks may be behind; they allow five minutes or so elsewhere too.
const BACKDATED: Duration = DAY;
const CA_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// Some clients refuse server certificates that are valid for more than 398 days.
const LEAF_LIFE: Duration = Duration::from_secs(396 * 86_400);

/// An authority: a certificate that clients trust, and the key that signs under it.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    pub(super) certificate: String,
    pub(super) key: Secret,
}

impl Authority {
    /// Makes a new one.
    pub(super) fn generate() -> Result<Self, rcgen::Error> {
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

    /// A TLS server for `names`, which are DNS names and IP addresses. It speaks TLS 1.2 and 1.3 [D].
    pub(super) fn server(&self, names: &[String]) -> anyhow::Result<Arc<ServerConfig>> {
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
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_details(provider.clone(), Arc::new(Clock))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient::new(&provider)))
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

/// From when and until when a certificate is valid. The clock may say anything, a certificate cannot.
fn validity(now: SystemTime, life: Duration) -> (SystemTime, SystemTime) {
    // Clients refuse dates before 1970, and a year has four digits.
    let (first, last) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    let now = now.clamp(first, last);
    ((now - BACKDATED).max(first), (now + life).min(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_dates_whatever_the_clock_says() {
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
    fn an_authority_signs_after_a_restart() {
        let authority = Authority::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        assert!(authority.server(&names).is_ok());
        assert!(authority.server(&["ä".to_owned()]).is_err());
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
