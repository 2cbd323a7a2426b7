//! A device's credential for its hub: a key, a given token or a certificate.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend::iothub::proto::{
    ConnectionString, HubAddress, Identity, Key, Malformed, Resource, SasToken, UnixSeconds,
};
use crate::config;
use crate::error::{Error, Exposure, Problem, Result};
use crate::net::{ClientCertificate, Unusable, read_certificates};
use crate::secret::Secret;
use crate::time::clock::unix_seconds;

/// A device's identity, hub and credential.
#[derive(Clone, Debug)]
pub(super) struct DeviceCredential {
    pub(super) hub: HubAddress,
    /// The `GatewayHostName` to connect to in place of the hub.
    pub(super) gateway: Option<HubAddress>,
    pub(super) identity: Identity,
    authentication: Authentication,
    /// The source of the connection string, for messages.
    source: String,
}

#[derive(Clone, Debug)]
enum Authentication {
    /// Signs tokens.
    Key(Secret),
    /// A token made elsewhere.
    Token(SasToken),
    Certificate(ClientCertificate),
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
    pub(super) fn new(
        source: &str,
        text: &Secret,
        certificate: Option<(&Path, &Path)>,
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
        let authentication = match (parsed.key, certificate) {
            (Key::Shared(key), None) => Authentication::Key(key),
            (Key::Signature(token), None) => Authentication::Token(token),
            (Key::Certificate, Some((certificate, key))) => {
                Authentication::Certificate(read_client_certificate(certificate, key, warnings)?)
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
    /// # Errors
    /// Returns [`Error::Credential`] if a given token has expired, or the key cannot sign.
    pub(super) fn login_token(&self, now: SystemTime, life: Duration) -> Result<Option<LoginToken>> {
        let unusable = |problem: Problem| {
            Error::credential(
                &*self.source,
                problem,
                "get a new token and reload the agent, or use the device's key",
            )
        };
        match &self.authentication {
            Authentication::Key(key) => {
                let begin = unix_seconds(now);
                let expiry = UnixSeconds(begin.0 + life.as_secs());
                let token = SasToken::sign(&Resource::identity(&self.hub, &self.identity), expiry, key, None);
                let token = token.map_err(|problem| unusable(Problem::of(problem)))?;
                // The expiry counts from a whole second, and part of the first one has passed.
                let passed =
                    now.duration_since(UNIX_EPOCH + Duration::from_secs(begin.0)).unwrap_or_default();
                let life = Duration::from_secs(life.as_secs()).saturating_sub(passed);
                Ok(Some(LoginToken { text: token.text().clone(), renewable: Some(life) }))
            }
            Authentication::Token(token) if token.expiry() <= unix_seconds(now) => {
                Err(unusable("its shared access signature has expired".into()))
            }
            Authentication::Token(token) => {
                Ok(Some(LoginToken { text: token.text().clone(), renewable: None }))
            }
            Authentication::Certificate(_) => Ok(None),
        }
    }

    /// The certificate for the TLS handshake.
    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        match &self.authentication {
            Authentication::Certificate(certificate) => Some(certificate),
            Authentication::Key(_) | Authentication::Token(_) => None,
        }
    }
}

fn read_client_certificate(
    certificate: &Path,
    key: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<ClientCertificate> {
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
