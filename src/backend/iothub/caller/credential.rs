//! A profile's credential for a hub.

use std::time::{Duration, SystemTime};

use crate::backend::Stored;
use crate::backend::iothub::proto::{
    Clients, ConnectionString, HubAddress, Key, Malformed, Resource, SasToken, UnixSeconds,
};
use crate::config::TokenCommand;
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;
use crate::time::clock::unix_seconds;

/// The life of a signed token: enough for one set-up with a clock that is somewhat behind.
const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// A credential for a hub's service side.
#[derive(Debug)]
pub(super) struct Credential {
    /// The hub.
    pub hub: HubAddress,
    /// The `GatewayHostName` to connect to in place of the hub.
    pub gateway: Option<HubAddress>,
    tokens: Tokens,
    /// The description of its source.
    source: String,
}

/// The source of tokens.
#[derive(Debug)]
enum Tokens {
    Key { policy: String, key: Secret },
    Signature { policy: Option<String>, token: SasToken },
    Bearer(TokenCommand),
}

impl Credential {
    /// The credential of the profile `name`.
    ///
    /// # Errors
    /// Returns an error if it is invalid. The error does not contain it.
    pub(super) fn of(name: &str, stored: Stored<'_>) -> Result<Self> {
        let (source, hub, command) = match stored {
            Stored::ConnectionString { source, text } => return Self::from_connection_string(source, &text),
            Stored::TokenCommand { source, service, command, .. } => (source, service, command),
        };
        let address = HubAddress::parse(hub);
        let address = address.and_then(|address| address.check_for(Clients::Services).map(|()| address));
        let address = address.map_err(|problem| {
            Error::credential(
                format!("profile '{name}'"),
                format!("hub: {problem}"),
                "write hub = \"contoso.azure-devices.net\"",
            )
        })?;
        let tokens = Tokens::Bearer(TokenCommand::new(&*source, command));
        Ok(Self { hub: address, gateway: None, tokens, source })
    }

    /// Parses a policy's connection string. Errors name it by `source`.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if it is invalid or a device's. The error does not contain it.
    pub(super) fn from_connection_string(source: String, text: &Secret) -> Result<Self> {
        let unusable = |problem: Malformed| {
            Error::credential(
                &*source,
                Problem::of(problem),
                "a service connection string has the form HostName=…;SharedAccessKeyName=…;SharedAccessKey=…",
            )
        };
        let parsed = ConnectionString::parse(text.expose()).map_err(unusable)?;
        if parsed.identity.is_some() {
            return Err(unusable(Malformed(
                "it is a device's connection string, and a profile needs a policy's".into(),
            )));
        }
        parsed.hub.check_for(Clients::Services).map_err(unusable)?;
        let wrong = |problem: &str| Err(unusable(Malformed(problem.into())));
        let tokens = match (parsed.key, parsed.policy) {
            (Key::Shared(key), Some(policy)) => Tokens::Key { policy, key },
            (Key::Shared(_), None) => return wrong("the connection string has no SharedAccessKeyName"),
            (Key::Signature(token), policy) => Tokens::Signature { policy, token },
            (Key::Certificate, _) => {
                return wrong("x509=true is for devices, and a profile needs a policy's key");
            }
        };
        Ok(Self { hub: parsed.hub, gateway: parsed.gateway, tokens, source })
    }

    /// The policy of the key or token, if it is named.
    pub(super) fn policy(&self) -> Option<&str> {
        match &self.tokens {
            Tokens::Key { policy, .. } => Some(policy),
            Tokens::Signature { policy, token } => policy.as_deref().or(token.policy()),
            Tokens::Bearer(_) => None,
        }
    }

    /// A description without secrets.
    pub(super) fn describe(&self) -> String {
        self.policy().map_or_else(|| "a token".into(), |policy| format!("policy {policy}"))
    }

    /// The value of an `Authorization` header for one request. Blocks while a token command runs.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if the key cannot sign, a given token has expired, or the token command fails.
    pub(super) fn authorization(&self, now: SystemTime) -> Result<Secret> {
        let unusable = |problem: String, hint: &str| Error::credential(&*self.source, problem, hint);
        match &self.tokens {
            Tokens::Key { policy, key } => {
                let expiry = UnixSeconds(unix_seconds(now).0 + TOKEN_LIFE.as_secs());
                let token = SasToken::sign(&Resource::hub(&self.hub), expiry, key, Some(policy));
                let unusable = |problem: Malformed| Error::Credential {
                    origin: self.source.clone(),
                    problem: Problem::of(problem),
                    hint: None,
                };
                Ok(token.map_err(unusable)?.text().clone())
            }
            Tokens::Signature { token, .. } if token.expiry() <= unix_seconds(now) => Err(unusable(
                "the shared access signature has expired".into(),
                "get a new one, or use a policy's key",
            )),
            Tokens::Signature { token, .. } => Ok(token.text().clone()),
            Tokens::Bearer(command) => Ok(Secret::new(format!("Bearer {}", command.token(now)?.expose()))),
        }
    }
}
