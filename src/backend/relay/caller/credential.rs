//! A profile's credential for a namespace.

use std::time::{Duration, SystemTime};

use crate::backend::Stored;
use crate::backend::relay::proto::{
    ConnectionString, Entity, Key, Malformed, Namespace, SUFFIX, SasToken, UnixSeconds, resource,
};
use crate::config::TokenCommand;
use crate::error::{Error, Problem, Result};
use crate::secret::Secret;
use crate::time::clock::unix_seconds;

/// The life of a signed token: enough for one set-up with a clock that is somewhat behind.
const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// A credential to send to a namespace.
#[derive(Debug)]
pub(crate) struct Credential {
    /// The namespace.
    pub namespace: Namespace,
    /// The hybrid connection of a connection string that is for one alone.
    pub entity: Option<Entity>,
    tokens: Tokens,
    /// The description of its source.
    source: String,
}

/// The source of tokens.
#[derive(Debug)]
enum Tokens {
    Key {
        rule: String,
        key: Secret,
    },
    Signature(SasToken),
    /// A token of another service, which knows its expiry.
    Given(Secret),
    Entra(TokenCommand),
}

impl Credential {
    /// The credential of the profile `name`. `suffix` completes a namespace's name.
    ///
    /// # Errors
    /// Returns an error if it is invalid. The error does not contain it.
    pub(super) fn of(name: &str, suffix: Option<&str>, stored: Stored<'_>) -> Result<Self> {
        let (source, relay, command) = match stored {
            Stored::ConnectionString { source, text } => return Self::from_connection_string(source, &text),
            Stored::TokenCommand { source, service, command, .. } => (source, service, command),
        };
        let namespace = Namespace::named(relay, "relay", suffix.unwrap_or(SUFFIX)).map_err(|problem| {
            Error::credential(
                format!("profile '{name}'"),
                Problem::of(problem),
                "write relay = \"contoso\", the namespace's name",
            )
        })?;
        let tokens = Tokens::Entra(TokenCommand::new(&*source, command));
        Ok(Self { namespace, entity: None, tokens, source })
    }

    /// The credential of a `token` for a namespace.
    pub(in crate::backend::relay) fn given(namespace: Namespace, token: Secret) -> Self {
        Self { namespace, entity: None, tokens: Tokens::Given(token), source: "a token".into() }
    }

    /// Parses a rule's connection string. Errors name it by `source`.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if it is invalid. The error does not contain it.
    pub(super) fn from_connection_string(source: String, text: &Secret) -> Result<Self> {
        let parsed = ConnectionString::parse(text.expose()).map_err(|problem: Malformed| {
            Error::credential(
                &*source,
                Problem::of(problem),
                "a relay's connection string has the form Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…",
            )
        })?;
        let tokens = match parsed.key {
            Key::Rule { name: rule, key } => Tokens::Key { rule, key },
            Key::Signature(token) => Tokens::Signature(token),
        };
        Ok(Self { namespace: parsed.namespace, entity: parsed.entity, tokens, source })
    }

    /// The rule of the key or token, if it is named.
    pub(super) fn rule(&self) -> Option<&str> {
        match &self.tokens {
            Tokens::Key { rule, .. } => Some(rule),
            Tokens::Signature(token) => token.rule(),
            Tokens::Entra(_) | Tokens::Given(_) => None,
        }
    }

    /// A description without secrets.
    pub(super) fn describe(&self) -> String {
        self.rule().map_or_else(|| "a token".into(), |rule| format!("policy {rule}"))
    }

    /// The token to send to `entity` at `now`, without a scheme. Blocks while a token command runs.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if a given token has expired, or the token command fails.
    pub(super) fn token(&self, entity: &Entity, now: SystemTime) -> Result<Secret> {
        match &self.tokens {
            Tokens::Key { rule, key } => {
                let expiry = UnixSeconds(unix_seconds(now).0 + TOKEN_LIFE.as_secs());
                let resource = resource(&self.namespace, Some(entity));
                Ok(SasToken::sign(&resource, expiry, rule, key).text().clone())
            }
            Tokens::Signature(token) if token.expiry() <= unix_seconds(now) => Err(Error::credential(
                &*self.source,
                "the shared access signature has expired",
                "get a new one, or use a policy's key",
            )),
            Tokens::Signature(token) => Ok(token.text().clone()),
            Tokens::Given(token) => Ok(token.clone()),
            Tokens::Entra(command) => command.token(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Credential {
        Credential::from_connection_string("x".into(), &Secret::new(text)).unwrap()
    }

    #[test]
    fn signs_for_the_hybrid_connection_with_a_short_life() {
        let credential = parsed("Endpoint=sb://ns:8443/;SharedAccessKeyName=send;SharedAccessKey=k");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let token = credential.token(&Entity::parse("factory/gw 7").unwrap(), now).unwrap();
        let token = SasToken::parse(token.expose()).unwrap();
        assert!(token.is_signed_by(&Secret::new("k")));
        assert_eq!((token.uri().as_str(), token.expiry().0), ("http://ns/factory/gw%207/", 1300));
        assert_eq!(credential.describe(), "policy send");
    }

    #[test]
    fn a_given_token_is_used_until_it_expires() {
        let signature = SasToken::sign("ns", UnixSeconds(1000), "send", &Secret::new("k"));
        let text = signature.text().expose();
        let credential = parsed(&format!("Endpoint=sb://ns/;SharedAccessSignature={text}"));
        let entity = Entity::parse("x").unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(credential.token(&entity, at(999)).unwrap().expose(), text);
        let problem = credential.token(&entity, at(1000)).unwrap_err().to_string();
        assert!(problem.contains("has expired") && !problem.contains("sig="), "{problem}");
    }
}
