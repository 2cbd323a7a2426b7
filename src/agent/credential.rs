//! How the device proves who it is: its key, a ready token, or a certificate.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend::iothub::proto::{
    ConnectionString, HubAddress, Identity, Key, Malformed, Resource, SasToken, UnixSeconds,
};
use crate::config;
use crate::error::{Error, Result};
use crate::net::{ClientCertificate, Unusable, read_certificates};
use crate::platform::private_file::Exposure;
use crate::secret::Secret;
use crate::time::clock::unix_seconds;

/// A device, its hub, and the proof of its identity.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) hub: HubAddress,
    /// Where to connect, if not to the hub itself.
    pub(crate) gateway: Option<HubAddress>,
    pub(crate) identity: Identity,
    proof: Proof,
    source: String,
    /// How others can get at its files, where that is no reason to refuse them.
    pub(crate) warnings: Vec<Exposure>,
}

#[derive(Clone, Debug)]
enum Proof {
    /// Signs tokens.
    Key(Secret),
    /// A token made elsewhere.
    Token(SasToken),
    Certificate(ClientCertificate),
}

/// What to log in with, and for how long that is good; with a certificate there is no password.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) password: Option<Secret>,
    /// How long from now the hub will keep the connection, where another password can be made in time.
    pub(crate) renewable: Option<Duration>,
}

impl Credential {
    /// Takes a device's connection string that came from `source`, and the files of a certificate and its key; `warnings`
    /// are of the file it came from.
    ///
    /// # Errors
    /// What is wrong with either.
    pub(crate) fn new(
        source: String,
        text: &Secret,
        certificate: Option<(PathBuf, PathBuf)>,
        mut warnings: Vec<Exposure>,
    ) -> Result<Self> {
        let unusable = |problem: Malformed| {
            Error::Credential {
            source: source.clone(),
            problem: problem.0,
            hint: "a device's connection string has the form HostName=…;DeviceId=…;SharedAccessKey=…, or x509=true".into(),
        }
        };
        let parsed = ConnectionString::parse(text.expose()).map_err(unusable)?;
        let identity = parsed.identity.ok_or_else(|| {
            unusable(Malformed("it is a policy's connection string, and an agent needs a device's".into()))
        })?;
        let proof = match (parsed.key, certificate) {
            (Key::Shared(key), None) => Proof::Key(key),
            (Key::Signature(token), None) => Proof::Token(token),
            (Key::Certificate, Some((certificate, key))) => {
                Proof::Certificate(read_client_certificate(&certificate, &key, &mut warnings)?)
            }
            (Key::Certificate, None) => {
                return Err(unusable(Malformed(
                    "it says x509=true, which takes both certificate and private-key beside it".into(),
                )));
            }
            (_, Some(_)) => {
                return Err(unusable(Malformed(
                    "it has a key of its own, and there is a certificate beside it: with one it says x509=true".into(),
                )));
            }
        };
        Ok(Self { hub: parsed.hub, gateway: parsed.gateway, identity, proof, source, warnings })
    }

    /// Makes what to log in with; a token of ours is good for `life`.
    ///
    /// # Errors
    /// When a token made elsewhere has expired.
    pub(crate) fn pass(&self, now: SystemTime, life: Duration) -> Result<Pass> {
        let unusable = |problem: String| Error::Credential {
            source: self.source.clone(),
            problem,
            hint: "get a new token and reload the agent, or use the device's key".into(),
        };
        match &self.proof {
            Proof::Key(key) => {
                let begin = unix_seconds(now);
                let expiry = UnixSeconds(begin.0 + life.as_secs());
                let token = SasToken::sign(&Resource::identity(&self.hub, &self.identity), expiry, key, None);
                let token = token.map_err(|problem| unusable(problem.0))?;
                // The wire has whole seconds: a fraction of the first has passed already.
                let passed =
                    now.duration_since(UNIX_EPOCH + Duration::from_secs(begin.0)).unwrap_or_default();
                let life = Duration::from_secs(life.as_secs()).saturating_sub(passed);
                Ok(Pass { password: Some(token.text().clone()), renewable: Some(life) })
            }
            Proof::Token(token) if token.expiry() <= unix_seconds(now) => {
                Err(unusable("its shared access signature has expired".into()))
            }
            Proof::Token(token) => Ok(Pass { password: Some(token.text().clone()), renewable: None }),
            Proof::Certificate(_) => Ok(Pass { password: None, renewable: None }),
        }
    }

    /// The certificate to show to the hub.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        match &self.proof {
            Proof::Certificate(certificate) => Some(certificate),
            Proof::Key(_) | Proof::Token(_) => None,
        }
    }
}

fn read_client_certificate(
    certificate: &Path,
    key: &Path,
    warnings: &mut Vec<Exposure>,
) -> Result<ClientCertificate> {
    let chain = read_certificates(certificate)?;
    let unreadable = |error: std::io::Error| Error::Credential {
        source: format!("file {}", key.display()),
        problem: error.to_string(),
        hint: "it holds the certificate's private key in PEM".into(),
    };
    let file = config::read_secret_bytes(key).map_err(unreadable)?.leniently(key, warnings)?;
    ClientCertificate::new(chain, &file).map_err(|unusable| {
        let (path, problem, hint) = match unusable {
            Unusable::Certificate(problem, hint) => (certificate, problem, hint),
            Unusable::Key(problem, hint) => (key, problem, hint),
        };
        Error::Credential { source: format!("file {}", path.display()), problem, hint: hint.into() }
    })
}
