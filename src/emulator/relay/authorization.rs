//! Who may listen and send: tokens that a rule's key has signed.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::Instant;

use super::hybrid_connection::HybridConnection;
use super::namespace::Namespace;
use super::refusal::Refusal;
use super::rules::{Right, Rule};
use crate::backend::relay::proto::{SasToken, UnixSeconds};
use crate::time::clock;

/// What a token allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// The rule that signed it; `None` for a token of Entra ID, and without a token.
    pub(super) rule: Option<&'static str>,
    /// When the token expires.
    pub(super) expiry: Option<UnixSeconds>,
}

/// Which hybrid connections a token may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The one that is asked for.
    This,
    /// Any of the namespace.
    Any,
}

impl Namespace {
    /// Checks a token for a right to `path`, which is the path of `connection` and what follows it.
    ///
    /// # Errors
    /// Why it does not give the right.
    pub(super) fn authorize(
        &self,
        connection: &HybridConnection,
        path: &str,
        token: Option<&str>,
        right: Right,
        scope: Scope,
    ) -> Result<Grant, Refusal> {
        let denied = |text: &str| Refusal::new(StatusCode::UNAUTHORIZED, text);
        let text = token.ok_or_else(|| denied("MissingToken: The token is missing"))?;
        if let Some(expiry) = jwt_expiry(text) {
            // A stub: nobody's tokens can be verified here, so any may do anything.
            self.check_expiry(expiry)?;
            return Ok(Grant { rule: None, expiry });
        }
        let token = SasToken::parse(text).map_err(|problem| denied(&format!("MalformedToken: {problem}")))?;
        let named = |rule: &&Rule| token.rule() == Some(rule.name);
        let others = self.connections.iter().filter(|_| scope == Scope::Any).map(|other| &other.rule);
        let mut rules = self.rules.iter().chain([&connection.rule]).chain(others).filter(named);
        // The token and the path, of which the tracking id has the latter, are in this text [D].
        let rule = rules
            .find(|rule| token.is_signed_by(&rule.key))
            .ok_or_else(|| denied("InvalidSignature: The token has an invalid signature"))?;
        let uri = token.uri();
        let (host, resource) = split_uri(&uri);
        if !self.address.matches(host) {
            return Err(denied("InvalidAudience: The token is for another namespace"));
        }
        self.check_expiry(Some(token.expiry()))?;
        if scope == Scope::This && !covers(resource, path) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "The token is not valid for this path"));
        }
        if !rule.allows(right) {
            let text =
                format!("Unauthorized access. '{right:?}' claim is required to perform this operation");
            return Err(Refusal::new(self.faults.relay.lacks_right, text));
        }
        Ok(Grant { rule: Some(rule.name), expiry: Some(token.expiry()) })
    }

    fn check_expiry(&self, expiry: Option<UnixSeconds>) -> Result<(), Refusal> {
        match self.remaining(expiry) {
            Some(Duration::ZERO) => {
                Err(Refusal::new(StatusCode::UNAUTHORIZED, "ExpiredToken: The token has expired"))
            }
            _ => Ok(()),
        }
    }

    /// When a token is not accepted any more; `None` for never.
    pub(super) fn deadline(&self, expiry: Option<UnixSeconds>) -> Option<Instant> {
        Instant::now().checked_add(self.remaining(expiry)?)
    }

    /// For how long a token is still accepted; `None` for ever.
    fn remaining(&self, expiry: Option<UnixSeconds>) -> Option<Duration> {
        let last = expiry?.0.saturating_add(self.faults.relay.skew.as_secs());
        Some(Duration::from_secs(last.saturating_sub(clock::unix_seconds(self.faults.clock.now()).0)))
    }
}

/// The host and the path of a resource, with any scheme or none \[~].
fn split_uri(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    rest.split_once('/').unwrap_or((rest, ""))
}

/// Whether `resource` is `path` or a prefix of it by whole segments, ignoring case and a slash at the end \[~].
fn covers(resource: &str, path: &str) -> bool {
    let segments = |text: &str| -> Vec<String> {
        let text = percent_decode_str(text).decode_utf8_lossy().to_lowercase();
        text.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
    };
    segments(path).starts_with(&segments(resource))
}

/// When a token of Entra ID expires, if it says so; `None` for other tokens.
#[expect(clippy::option_option, reason = "a token without an expiry is one")]
fn jwt_expiry(token: &str) -> Option<Option<UnixSeconds>> {
    let mut parts = token.split('.').map(|part| BASE64URL_NOPAD.decode(part.as_bytes()));
    let (Some(Ok(_)), Some(Ok(claims)), Some(Ok(_)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
    Some(claims["exp"].as_u64().map(UnixSeconds))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::emulator::directory::Directory;
    use crate::emulator::faults::Faults;
    use crate::emulator::hostnames::Hostnames;
    use crate::emulator::relay::{Names, Ports};
    use crate::secret::Secret;

    /// The namespace of the vectors, whose rule `listen` of `hyco` has their key. Their expiry is long past.
    fn namespace(directory: &Directory) -> Namespace {
        let host = "ns.servicebus.windows.net";
        directory.make_folder("relay").unwrap();
        let text =
            format!("Endpoint=sb://{host}/;SharedAccessKeyName=listen;SharedAccessKey=a2V5;EntityPath=hyco");
        directory.write_secret("relay/hyco.listen.conn", &Secret::new(text)).unwrap();
        let named = [host.to_owned()];
        let address: std::net::SocketAddr = "127.0.0.1:443".parse().unwrap();
        let names = Hostnames::new(address.ip(), &named);
        let ports = Ports { names: &names, named: &named, https: 443, gateway: address };
        let hybrid_connections = Names { entities: vec!["hyco".into()], anonymous: Vec::new() };
        let faults = Arc::new(Faults::parse("relay-skew=5200w").unwrap());
        Namespace::open(directory.clone(), &hybrid_connections, &ports, faults).unwrap()
    }

    #[test]
    fn tokens_of_microsofts_clients_are_taken() {
        let temporary = tempfile::tempdir().unwrap();
        let namespace = namespace(&Directory::open(temporary.path()).unwrap());
        let host = "http%3A%2F%2Fns.servicebus.windows.net";
        for (sr, sig) in [
            // The first and the third came out of hyco-ws.
            ("%3A443%2Fhyco", "pksFmAmfdUugOe4E7X%2FHlaMi%2FYm6lZVamIL8DH90D5U%3D"),
            ("%2Fhyco%2F", "zeP8z9Zd%2FF12tLdeCRzCYmdKN0Cwwnty95a5XwwTNm0%3D"),
            ("%2F", "H82BUbRfXCaUHA%2FAb1WZBz1gS2XqWE60kI9QgPAZFis%3D"),
        ] {
            let token =
                |sr: &str| format!("SharedAccessSignature sr={host}{sr}&sig={sig}&se=1795394289&skn=listen");
            let authorize = |token: &str, right| {
                let hyco = &namespace.connections[0];
                namespace
                    .authorize(hyco, "hyco", Some(token), right, Scope::This)
                    .map_err(|refusal| refusal.status)
            };
            let granted = authorize(&token(sr), Right::Listen).unwrap();
            assert_eq!(granted, Grant { rule: Some("listen"), expiry: Some(UnixSeconds(1_795_394_289)) });
            assert_eq!(authorize(&token(sr), Right::Send), Err(StatusCode::FORBIDDEN));
            let lower = authorize(&token(&sr.replace("%2F", "%2f")), Right::Listen);
            assert_eq!(lower, Err(StatusCode::UNAUTHORIZED), "the signature is over what was sent");
        }
    }

    #[test]
    fn a_resource_covers_what_is_below_it() {
        // The forms of Microsoft's clients and of others.
        for (uri, path, is_covered) in [
            ("http://ns/hyco/", "hyco", true),
            ("http://ns:443/hyco", "hyco", true),
            ("sb://ns", "hyco", true),
            ("ns/HYCO", "hyco/ssh", true),
            ("https://ns/a/b/", "a%2Fb", true),
            ("http://ns/a%2fb/", "A/b", true),
            ("http://ns/hyco/suffix/", "hyco/suffix", true),
            ("http://ns/hyco/suffix/", "hyco", false),
            ("http://ns/hyc", "hyco", false),
            ("http://ns/hyco/?x=1", "hyco", true),
        ] {
            let (host, resource) = split_uri(uri);
            assert!(["ns", "ns:443"].contains(&host), "{uri}");
            assert_eq!(covers(resource, path), is_covered, "{uri} {path}");
        }
    }

    #[test]
    fn tokens_of_entra_id_have_three_parts() {
        let claims = BASE64URL_NOPAD.encode(br#"{"exp":9}"#);
        assert_eq!(jwt_expiry(&format!("e30.{claims}.AAAA")), Some(Some(UnixSeconds(9))));
        assert_eq!(jwt_expiry("e30.e30.AAAA"), Some(None));
        for other in ["", "e30.e30", "e30.e30.AAAA.AAAA", "e30.e3=.AAAA", "SharedAccessSignature sr=a.b.c"] {
            assert_eq!(jwt_expiry(other), None, "{other}");
        }
    }
}
