//! Entra ID tokens that a command prints.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::command::FAILED;
use super::{CommandLine, SecretText};
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::time::clock::unix_seconds;

/// How long a token without a known expiry is used.
const UNKNOWN_LIFE: Duration = Duration::from_secs(5 * 60);

/// How many seconds before its expiry a token is replaced. The hub's clock may be ahead.
const MARGIN: u64 = 2 * 60;

/// A token, and the time to replace it.
#[derive(Debug)]
struct Token {
    text: Secret,
    until: SystemTime,
}

/// The used fields of the output of `az account get-access-token`.
#[derive(Deserialize)]
struct AzToken {
    #[serde(rename = "accessToken")]
    access_token: SecretText,
    /// Seconds since 1970. Older versions print only a local time.
    expires_on: Option<u64>,
}

impl Token {
    /// Parses az's JSON or a bare token, printed at `now`.
    ///
    /// # Errors
    /// Returns an error if `printed` is neither. The error does not contain it.
    fn parse(printed: &Secret, now: SystemTime) -> std::result::Result<Self, String> {
        let neither = || "its command prints neither a bare token nor az's JSON with accessToken".to_owned();
        let quoted = printed.expose().trim_matches(['"', '\'']);
        let bare = quoted.strip_prefix("Bearer ").unwrap_or(quoted);
        let (text, expiry) = if printed.expose().starts_with('{') {
            // serde's error may contain the text.
            let az: AzToken = serde_json::from_str(printed.expose()).map_err(|_| neither())?;
            (az.access_token.0, az.expires_on)
        } else {
            (Secret::new(bare), None)
        };
        // RFC 6750, section 2.1.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if text.expose().is_empty() || !text.expose().bytes().all(allowed) {
            return Err(neither());
        }
        let life = expiry.map_or(UNKNOWN_LIFE, |expiry| {
            Duration::from_secs(expiry.saturating_sub(unix_seconds(now).0).saturating_sub(MARGIN))
        });
        Ok(Self { text, until: now.checked_add(life).unwrap_or(now) })
    }
}

/// A command that prints tokens, and the last token that it printed.
#[derive(Debug)]
pub(crate) struct TokenCommand {
    /// The description of the command's source.
    source: String,
    command: CommandLine,
    cache: Cache,
}

impl TokenCommand {
    /// The tokens of `command`. Errors name it by `source`.
    pub(crate) fn new(source: impl Into<String>, command: &CommandLine) -> Self {
        Self { source: source.into(), command: command.clone(), cache: Cache::default() }
    }

    /// A token that is valid at `now`. Blocks while the command runs.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if the command fails or prints no token. The error does not contain its output.
    pub(crate) fn token(&self, now: SystemTime) -> Result<Secret> {
        self.cache.token(now, || self.print(now))
    }

    /// Replaces a token that is still valid. Blocks while the command runs.
    ///
    /// # Errors
    /// Returns the error of [`Self::token`], and keeps the token.
    pub(crate) fn renew(&self, now: SystemTime) -> Result<()> {
        let token = self.print(now)?;
        *self.cache.held() = Some(token);
        Ok(())
    }

    /// Forgets a token that the service refuses.
    pub(crate) fn forget(&self) {
        *self.cache.held() = None;
    }

    /// When the last token must be replaced.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        self.cache.held().as_ref().map(|token| token.until)
    }

    fn print(&self, now: SystemTime) -> Result<Token> {
        let printed =
            self.command.output().map_err(|problem| Error::credential(&*self.source, problem, FAILED))?;
        Token::parse(&printed, now).map_err(|problem| {
            Error::credential(&*self.source, problem, "az account get-access-token prints what is needed")
        })
    }
}

/// The last token, kept in memory only.
#[derive(Debug, Default)]
struct Cache(Mutex<Option<Token>>);

impl Cache {
    /// The cached token if it is valid at `now`, else a new one from `get`.
    fn token<E>(
        &self,
        now: SystemTime,
        get: impl FnOnce() -> std::result::Result<Token, E>,
    ) -> std::result::Result<Secret, E> {
        let mut held = self.held();
        match &*held {
            Some(token) if now < token.until => Ok(token.text.clone()),
            _ => Ok(held.insert(get()?).text.clone()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn parse(text: &str) -> std::result::Result<Token, String> {
        Token::parse(&Secret::new(text), at(1000))
    }

    #[test]
    fn reads_azs_json_and_bare_tokens() {
        let az = r#"{"accessToken": "eyJ0.e-_y", "expiresOn": "2026-11-23 10:00:00.000000",
            "expires_on": 5000, "subscription": "s", "tenant": "t", "tokenType": "Bearer"}"#;
        let token = parse(az).unwrap();
        assert_eq!((token.text.expose(), token.until), ("eyJ0.e-_y", at(4880)));
        let old = parse(r#"{"accessToken": "eyJ0", "expiresOn": "2026-11-23 10:00:00.000000"}"#).unwrap();
        assert_eq!(old.until, at(1300));
        for bare in ["eyJ0", "\"eyJ0\"", "Bearer eyJ0"] {
            let token = parse(bare).unwrap();
            assert_eq!((token.text.expose(), token.until), ("eyJ0", at(1300)));
        }
        assert!(parse(r#"{"accessToken": "x", "expires_on": 18446744073709551615}"#).is_ok());
    }

    #[test]
    fn an_invalid_token_is_refused_and_not_shown() {
        for text in ["", "two words", "{", "{\"accessToken\": 31337}", "{}", "a\nb", "ERROR: hunter2!"] {
            let problem = parse(text).unwrap_err();
            assert!(!problem.contains("31337") && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_token_is_reused_until_it_expires() {
        let cache = Cache::default();
        let get = |text: &str, until| {
            let token = Token { text: Secret::new(text), until: at(until) };
            move || Ok::<_, ()>(token)
        };
        let mut seen = Vec::new();
        for (now, text) in [(0, "a"), (9, "b"), (10, "c")] {
            seen.push(cache.token(at(now), get(text, now + 10)).unwrap().expose().to_owned());
        }
        assert_eq!(seen, ["a", "a", "c"]);
    }
}
