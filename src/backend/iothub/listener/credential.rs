//! A device's credential for its hub: a key, a given token, a certificate, or a service that signs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend::Pending;
use crate::backend::iothub::proto::{
    Clients, ConnectionString, HubAddress, Identity, Key, Malformed, Resource, SasToken, UnixSeconds,
};
use crate::backend::settings::CertificateFiles;
use crate::config;
use crate::error::{Error, Exposure, Problem, Result};
use crate::net::{ClientCertificate, Unusable, read_certificates};
use crate::secret::Secret;
use crate::time::clock::unix_seconds;

/// A device's identity, hub and credential.
#[derive(Clone, Debug)]
pub(crate) struct DeviceCredential {
    /// The hub.
    pub hub: HubAddress,
    /// The `GatewayHostName` to connect to in place of the hub.
    pub gateway: Option<HubAddress>,
    /// The device or module.
    pub identity: Identity,
    /// The proof of the identity.
    pub authentication: Authentication,
    /// The source of the credential, for messages.
    pub source: String,
}

/// How a device proves its identity.
#[derive(Clone, Debug)]
pub(crate) enum Authentication {
    /// A key that signs tokens; base64.
    Key(Secret),
    /// A token made elsewhere.
    Token(SasToken),
    /// A certificate and its private key.
    Certificate(ClientCertificate),
    /// A service that signs tokens with a key that it does not give away.
    Signer(Arc<dyn Signer>),
}

/// Signs tokens with a key that stays where it is.
pub(crate) trait Signer: fmt::Debug + Send + Sync {
    /// The HMAC-SHA256 of `message` with the identity's key. Cancel-safe: dropping the future drops the request.
    ///
    /// # Errors
    /// Returns an error if the service cannot be reached or refuses to sign.
    fn sign(&self, message: Vec<u8>) -> Pending<'_, Result<Vec<u8>>>;
}

/// The password of a login.
#[derive(Debug)]
pub(super) struct LoginToken {
    pub(super) text: Secret,
    /// The token's remaining life, if the device can sign another.
    pub(super) renewable: Option<Duration>,
}

impl DeviceCredential {
    /// Parses a device's connection string from `source`, and reads the files of a certificate and its key. Tolerated
    /// exposures of the key's file are added to `warnings`.
    ///
    /// # Errors
    /// Returns an error if one of them is invalid.
    pub(crate) fn new(
        source: &str,
        text: &Secret,
        certificate: Option<&CertificateFiles>,
        warnings: &mut Vec<Exposure>,
    ) -> Result<Self> {
        let unusable = |problem: Malformed| {
            Error::credential(
                source,
                Problem::of(problem),
                "a device's connection string has the form HostName=…;DeviceId=…;SharedAccessKey=…, or x509=true",
            )
        };
        let parsed = ConnectionString::parse(text.expose()).map_err(unusable)?;
        let identity = parsed.identity.ok_or_else(|| {
            unusable(Malformed("it is a policy's connection string, and an agent needs a device's".into()))
        })?;
        parsed.hub.check_for(Clients::Devices).map_err(unusable)?;
        let authentication = match (parsed.key, certificate) {
            (Key::Shared(key), None) => Authentication::Key(key),
            (Key::Signature(token), None) => Authentication::Token(token),
            (Key::Certificate, Some(files)) => {
                Authentication::Certificate(read_client_certificate(files, warnings)?)
            }
            (Key::Certificate, None) => {
                return Err(unusable(Malformed(
                    "it says x509=true, which requires certificate and private-key".into(),
                )));
            }
            (_, Some(_)) => {
                return Err(unusable(Malformed(
                    "it contains a key, but a certificate is configured too: use x509=true with a certificate".into(),
                )));
            }
        };
        Ok(Self {
            hub: parsed.hub,
            gateway: parsed.gateway,
            identity,
            authentication,
            source: source.to_owned(),
        })
    }

    /// The token of a login; `None` with a certificate. A key signs one that is valid for `life`.
    ///
    /// Cancel-safe: dropping the future drops a request to sign.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if a given token has expired, or the key cannot sign; and the error of a [`Signer`].
    pub(super) async fn login_token(&self, now: SystemTime, life: Duration) -> Result<Option<LoginToken>> {
        let begin = unix_seconds(now);
        let expiry = UnixSeconds(begin.0 + life.as_secs());
        let resource = Resource::identity(&self.hub, &self.identity);
        let token = match &self.authentication {
            Authentication::Key(key) => SasToken::sign(&resource, expiry, key, None)
                .map_err(|problem| self.unusable(Problem::of(problem)))?,
            Authentication::Signer(signer) => {
                let signature = signer.sign(SasToken::message(&resource, expiry)).await?;
                SasToken::signed(&resource, expiry, signature, None)
            }
            Authentication::Token(token) => {
                self.check_given()?;
                return Ok(Some(LoginToken { text: token.text().clone(), renewable: None }));
            }
            Authentication::Certificate(_) => return Ok(None),
        };
        // The expiry counts from a whole second, and part of the first one has passed.
        let passed = now.duration_since(UNIX_EPOCH + Duration::from_secs(begin.0)).unwrap_or_default();
        let life = Duration::from_secs(life.as_secs()).saturating_sub(passed);
        Ok(Some(LoginToken { text: token.text().clone(), renewable: Some(life) }))
    }

    /// When a certificate or a given token ends, which the agent cannot renew.
    pub(super) fn end(&self) -> Option<UnixSeconds> {
        match &self.authentication {
            Authentication::Certificate(certificate) => Some(unix_seconds(certificate.validity().not_after)),
            Authentication::Token(token) => Some(token.expiry()),
            Authentication::Key(_) | Authentication::Signer(_) => None,
        }
    }

    /// Checks that a given token is still valid.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if it has expired.
    pub(super) fn check_given(&self) -> Result<()> {
        match &self.authentication {
            Authentication::Token(token) if token.expiry() <= unix_seconds(SystemTime::now()) => {
                Err(self.unusable("its shared access signature has expired".into()))
            }
            _ => Ok(()),
        }
    }

    fn unusable(&self, problem: Problem) -> Error {
        Error::credential(
            &*self.source,
            problem,
            "get a new token and reload the agent, or use the device's key",
        )
    }

    /// The certificate for the TLS handshake.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        match &self.authentication {
            Authentication::Certificate(certificate) => Some(certificate),
            Authentication::Key(_) | Authentication::Token(_) | Authentication::Signer(_) => None,
        }
    }
}

/// Reads a certificate chain and its private key. Tolerated exposures of the key's file are added to `warnings`.
///
/// # Errors
/// Returns an error if a file cannot be read or used. The error does not contain the key.
pub(crate) fn read_client_certificate(
    files: &CertificateFiles,
    warnings: &mut Vec<Exposure>,
) -> Result<ClientCertificate> {
    let CertificateFiles { certificate, private_key: key } = files;
    let chain = read_certificates(certificate)?;
    let unreadable = |error: std::io::Error| {
        Error::credential(
            format!("file {}", key.display()),
            error,
            "it must hold the certificate's private key in PEM",
        )
    };
    let file = config::read_secret_bytes(key).map_err(unreadable)?.leniently(key, warnings)?;
    ClientCertificate::new(chain, &file).map_err(|unusable| {
        let (path, problem, hint) = match unusable {
            Unusable::Certificate(problem, hint) => (certificate, problem, hint),
            Unusable::Key(problem, hint) => (key, problem, hint),
        };
        Error::credential(format!("file {}", path.display()), problem, hint)
    })
}
