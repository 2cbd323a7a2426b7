//! A listener's credential: a rule's key, a given token, or a command that prints tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::backend::relay::proto::{
    ConnectionString, Entity, Key, Malformed, Namespace, SUFFIX, SasToken, UnixSeconds, resource,
};
use crate::backend::settings::RelayAccess;
use crate::config::TokenCommand;
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;
use crate::time::clock::{iso8601, unix_seconds};

/// The part of a token's life after which it is renewed \[A].
const RENEW_AT: f64 = 0.75;

/// The shortest time between two runs of a token command, which may print the same token again.
const BETWEEN_COMMANDS: Duration = Duration::from_secs(30);

const FORM: &str = "a listener's connection string has the form \
                    Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…";

/// A hybrid connection, and the credential to listen there.
#[derive(Clone, Debug)]
pub(super) struct ListenCredential {
    pub(super) namespace: Namespace,
    pub(super) entity: Entity,
    authentication: Authentication,
    /// The source of the credential, for messages.
    source: String,
}

#[derive(Clone, Debug)]
enum Authentication {
    /// Signs tokens.
    Rule { name: String, key: Secret },
    /// A token made elsewhere.
    Signature(SasToken),
    /// Prints tokens.
    Command(Arc<TokenCommand>),
}

/// A token for the control channel.
#[derive(Clone, Debug)]
pub(super) struct ListenToken {
    pub(super) text: Secret,
    /// When to replace it; `None` if it cannot be replaced.
    pub(super) renew_at: Option<Instant>,
}

impl ListenCredential {
    /// Reads a credential from `source` for a hybrid connection, whose path a connection string may contain.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if it is invalid, or nothing names the hybrid connection.
    pub(super) fn new(source: &str, access: &RelayAccess, entity: Option<&str>) -> Result<Self> {
        let unusable = |problem: Malformed| Error::credential(source, Problem::of(problem), FORM);
        let named = entity.map(Entity::parse).transpose().map_err(unusable)?;
        let (namespace, own, authentication) = match access {
            RelayAccess::ConnectionString(text) => {
                let parsed = ConnectionString::parse(text.expose()).map_err(unusable)?;
                let authentication = match parsed.key {
                    Key::Rule { name, key } => Authentication::Rule { name, key },
                    Key::Signature(token) => Authentication::Signature(token),
                };
                (parsed.namespace, parsed.entity, authentication)
            }
            RelayAccess::Tokens { namespace, suffix, command } => {
                let suffix = suffix.as_deref().unwrap_or(SUFFIX);
                let namespace = Namespace::named(namespace, "relay", suffix).map_err(unusable)?;
                let command = Arc::new(TokenCommand::new(source, command));
                (namespace, None, Authentication::Command(command))
            }
        };
        let entity = match (named, own) {
            (Some(named), Some(own)) if named != own => {
                let problem = format!("its EntityPath is '{own}', and entity says '{named}'");
                return Err(Error::credential(source, problem, "keep one of them"));
            }
            (Some(entity), _) | (None, Some(entity)) => entity,
            (None, None) => {
                return Err(Error::credential(
                    source,
                    "nothing names the hybrid connection to listen at",
                    "add EntityPath=… to the connection string, or set entity in agent.toml",
                ));
            }
        };
        Ok(Self { namespace, entity, authentication, source: source.to_owned() })
    }

    /// The token for a new control channel. A key signs one that is valid for `life`.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if a given token has expired, or the command fails.
    pub(super) async fn token(&self, life: Duration) -> Result<ListenToken> {
        match &self.authentication {
            Authentication::Command(command) => printed(command, false).await,
            Authentication::Rule { .. } | Authentication::Signature(_) => self.new_token(life).await,
        }
    }

    /// A token that replaces the previous one.
    ///
    /// # Errors
    /// Returns the error of [`Self::token`].
    pub(super) async fn new_token(&self, life: Duration) -> Result<ListenToken> {
        match &self.authentication {
            Authentication::Rule { name, key } => {
                let begin = unix_seconds(SystemTime::now()).0;
                let expiry = UnixSeconds(begin.saturating_add(life.as_secs()));
                let resource = resource(&self.namespace, Some(&self.entity));
                let token = SasToken::sign(&resource, expiry, name, key);
                let renew_at = Instant::now().checked_add(renew_in(expiry.time()));
                Ok(ListenToken { text: token.text().clone(), renew_at })
            }
            Authentication::Signature(token) => {
                self.check()?;
                Ok(ListenToken { text: token.text().clone(), renew_at: None })
            }
            Authentication::Command(command) => printed(command, true).await,
        }
    }

    /// Checks that a given token has not expired.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if it has.
    pub(super) fn check(&self) -> Result<()> {
        match self.given_until() {
            Some(expiry) if expiry <= unix_seconds(SystemTime::now()) => Err(Error::credential(
                &*self.source,
                format!("its shared access signature expired at {}", date(expiry)),
                "get a new token and reload the agent, or use a rule's key",
            )),
            _ => Ok(()),
        }
    }

    /// When a given token expires, which the agent cannot renew.
    pub(super) fn given_expiry(&self) -> Option<String> {
        self.given_until().map(date)
    }

    /// The same in numbers.
    pub(super) fn given_until(&self) -> Option<UnixSeconds> {
        match &self.authentication {
            Authentication::Signature(token) => Some(token.expiry()),
            Authentication::Rule { .. } | Authentication::Command(_) => None,
        }
    }

    /// Forgets a printed token that the service refuses.
    pub(super) fn forget(&self) {
        if let Authentication::Command(command) = &self.authentication {
            command.forget();
        }
    }

    /// The credential in words.
    pub(super) fn describe(&self) -> String {
        match &self.authentication {
            Authentication::Rule { name, .. } => format!("a token signed with the rule {name}"),
            Authentication::Signature(token) => format!("a given token until {}", date(token.expiry())),
            Authentication::Command(_) => "a token of token-command".into(),
        }
    }
}

/// Runs a command, if its last token is over or to be renewed.
async fn printed(command: &Arc<TokenCommand>, renews: bool) -> Result<ListenToken> {
    let command = command.clone();
    let printing = move || {
        let now = SystemTime::now();
        if renews {
            command.renew(now)?;
        }
        let text = command.token(now)?;
        let renew_at = Instant::now().checked_add(renew_in(command.until()).max(BETWEEN_COMMANDS));
        Ok(ListenToken { text, renew_at })
    };
    tokio::task::spawn_blocking(printing).await.unwrap_or_else(|panic| Err(Error::Bug(panic.to_string())))
}

/// The time until the renewal of a token that is valid `until` then.
fn renew_in(until: Option<SystemTime>) -> Duration {
    let left = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
    left.unwrap_or_default().mul_f64(RENEW_AT)
}

fn date(time: UnixSeconds) -> String {
    iso8601(time.time().unwrap_or(UNIX_EPOCH))
}
