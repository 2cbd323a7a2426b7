//! A profile's credential, from wherever the profile says it is.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, SystemTime};

use super::file::Profiles;
use super::permissions::check_secret_file;
use super::schema::Profile;
use crate::clock::unix_seconds;
use crate::error::{Error, Result};
use crate::iothub::{ConnectionString, HubAddress, Key, Malformed, Resource, SasToken, UnixSeconds};
use crate::secret::Secret;

/// How long a token of ours is good: one connection's set-up, and a clock that is somewhat behind.
const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// What gives access to a hub as a service.
#[derive(Debug)]
pub struct Credential {
    pub hub: HubAddress,
    /// Where to connect, if not to the hub itself.
    pub gateway: Option<HubAddress>,
    policy: Option<String>,
    key: Key,
    source: String,
}

impl Credential {
    /// Gets the credential of `profile`.
    ///
    /// # Errors
    /// Which source is of no use, and why; never what it holds.
    pub fn of(profiles: &Profiles, name: &str, profile: &Profile) -> Result<Self> {
        let (source, text) = read(profiles, name, profile)?;
        let unusable = |problem: Malformed| Error::Credential {
            source: source.clone(),
            problem: problem.0,
            hint:
                "a service connection string has the form HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
                    .into(),
        };
        let parsed = ConnectionString::parse(text.expose()).map_err(unusable)?;
        if parsed.identity.is_some() {
            return Err(unusable(Malformed(
                "it is a device's connection string, and a profile needs a policy's".into(),
            )));
        }
        if matches!((&parsed.key, &parsed.policy), (Key::Shared(_), None)) {
            return Err(unusable(Malformed("the connection string has no SharedAccessKeyName".into())));
        }
        Ok(Self { hub: parsed.hub, gateway: parsed.gateway, policy: parsed.policy, key: parsed.key, source })
    }

    /// The value of an `Authorization` header, good for one connection.
    ///
    /// # Errors
    /// When the key cannot sign, or a ready token has expired.
    pub fn authorization(&self, now: SystemTime) -> Result<Secret> {
        let unusable = |problem: String, hint: &str| Error::Credential {
            source: self.source.clone(),
            problem,
            hint: hint.into(),
        };
        match &self.key {
            Key::Shared(key) => {
                let expiry = UnixSeconds(unix_seconds(now).0 + TOKEN_LIFE.as_secs());
                let token = SasToken::sign(&Resource::hub(&self.hub), expiry, key, self.policy.as_deref());
                Ok(token.map_err(|problem| unusable(problem.0, ""))?.text().clone())
            }
            Key::Signature(token) if token.expiry() <= unix_seconds(now) => Err(unusable(
                "the shared access signature has expired".into(),
                "get a new one, or use a policy's key",
            )),
            Key::Signature(token) => Ok(token.text().clone()),
            Key::Certificate => Err(unusable("a service has no certificate, only devices do".into(), "")),
        }
    }
}

/// The connection string, and where it came from.
fn read(profiles: &Profiles, name: &str, profile: &Profile) -> Result<(String, Secret)> {
    let Profile { connection_string, connection_string_file, connection_string_env, .. } = profile;
    match (connection_string, connection_string_file, connection_string_env) {
        (Some(text), None, None) => Ok((format!("connection-string in profile '{name}'"), text.0.clone())),
        (None, Some(path), None) => {
            let path = profiles.relative(path);
            let source = format!("file {}", path.display());
            let unreadable = |error: std::io::Error| Error::Credential {
                source: source.clone(),
                problem: error.to_string(),
                hint: format!("connection-string-file in profile '{name}' names it"),
            };
            let mut file = File::open(&path).map_err(unreadable)?;
            check_secret_file(&path, &file)?;
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(unreadable)?;
            Ok((source, Secret::new(text)))
        }
        (None, None, Some(variable)) => {
            let source = format!("environment variable {variable}");
            match std::env::var(variable) {
                Ok(text) => Ok((source, Secret::new(text))),
                Err(_) => Err(Error::Credential {
                    source,
                    problem: "it is not set".into(),
                    hint: format!("connection-string-env in profile '{name}' names it"),
                }),
            }
        }
        (None, None, None) => Err(Error::Credential {
            source: format!("profile '{name}'"),
            problem: "it has none".into(),
            hint: "give it a connection-string, a connection-string-file or a connection-string-env".into(),
        }),
        _ => Err(Error::Credential {
            source: format!("profile '{name}'"),
            problem: "it has more than one".into(),
            hint: "keep one of connection-string, connection-string-file and connection-string-env".into(),
        }),
    }
}
