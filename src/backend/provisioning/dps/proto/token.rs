//! The shared access signature that a device shows with a key, and how the service checks it.

use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use super::RegistrationId;
use crate::backend::malformed::Malformed;
use crate::backend::signature::{self, Fields};
use crate::secret::Secret;
use crate::text::percent::encode;
use crate::time::clock::UnixSeconds;

/// The name of the key in a token \[D]\[S].
const KEY_NAME: &str = "registration";

/// Signs a token for one registration until `expiry`: `sr={scope}%2Fregistrations%2F{id}` \[D]\[S].
///
/// # Errors
/// Returns [`Malformed`] if `key` is not base64.
pub(crate) fn sign(
    scope: &str,
    id: &RegistrationId,
    expiry: UnixSeconds,
    key: &Secret,
) -> Result<Secret, Malformed> {
    let resource = encode(&resource(scope, id)).to_string();
    let signature = signed(&resource, &expiry.0.to_string(), key)?.finalize().into_bytes();
    Ok(signature::text(&resource, &signature, expiry, Some(KEY_NAME)))
}

fn resource(scope: &str, id: &RegistrationId) -> String {
    format!("{scope}/registrations/{id}")
}

fn signed(resource: &str, expires: &str, key: &Secret) -> Result<Hmac<Sha256>, Malformed> {
    Ok(signature::mac(key)?.chain_update(signature::message(resource, expires)))
}

/// A token that a device has shown.
#[derive(Debug)]
pub(crate) struct Token<'a>(Fields<'a>);

impl<'a> Token<'a> {
    /// Parses a token from a header or a password.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the scheme or a field is missing, duplicate or malformed.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Malformed> {
        Fields::parse(text).map(Self)
    }

    /// Whether it is for this registration. Case does not matter: one client signs in lower case \[S]. Clients encode
    /// the resource once or twice \[C], so it is decoded until it no longer changes; neither a scope nor an id contains
    /// a `%`.
    pub(crate) fn is_for(&self, scope: &str, id: &RegistrationId) -> bool {
        let mut found = self.0.resource.to_owned();
        loop {
            let decoded = percent_decode_str(&found).decode_utf8_lossy().into_owned();
            if decoded == found {
                return found.eq_ignore_ascii_case(&resource(scope, id));
            }
            found = decoded;
        }
    }

    /// Whether `key` made this signature. Verifies `sr` and `se` as received, because those are signed.
    pub(crate) fn is_signed_by(&self, key: &Secret) -> bool {
        signed(self.0.resource, self.0.expires, key)
            .is_ok_and(|mac| mac.verify_slice(&self.0.signature).is_ok())
    }

    /// When the token expires.
    pub(crate) fn expiry(&self) -> UnixSeconds {
        self.0.expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "0ne00000001";

    fn id(text: &str) -> RegistrationId {
        text.parse().unwrap()
    }

    fn key() -> Secret {
        Secret::new("tSeBq0SyFsVX7Gda4p41mHaNFL64Va3/7Eb5U3lCIds=")
    }

    /// The signature was computed elsewhere.
    #[test]
    fn signs_the_known_token() {
        let text = sign(SCOPE, &id("gw-07"), UnixSeconds(1_795_396_174), &key()).unwrap();
        assert_eq!(
            text.expose(),
            "SharedAccessSignature sr=0ne00000001%2Fregistrations%2Fgw-07\
             &sig=dDJxzO2UcR17DbfI74k001GFe0FC%2Fzb6tDu0bWK2l9w%3D&se=1795396174&skn=registration"
        );
        let token = Token::parse(text.expose()).unwrap();
        assert!(token.is_signed_by(&key()) && token.is_for(SCOPE, &id("GW-07")));
        assert_eq!(token.expiry(), UnixSeconds(1_795_396_174));
        assert!(!token.is_signed_by(&Secret::new("MDEyMzQ1Njc4OWFiY2RlZg==")));
        assert!(!token.is_signed_by(&Secret::new("no base64")));
        let later = text.expose().replace("se=17953", "se=17954");
        assert!(!Token::parse(&later).unwrap().is_signed_by(&key()));
    }

    #[test]
    fn a_resource_may_be_encoded_any_number_of_times() {
        for resource in [
            "0ne00000001/registrations/a:b",
            "0NE00000001%2fregistrations%2fA%3ab",
            "0ne00000001%2Fregistrations%2Fa%253Ab",
            "0ne00000001%252Fregistrations%252Fa%25253Ab",
        ] {
            let text = format!("SharedAccessSignature sr={resource}&sig=AAAA&se=1");
            let token = Token::parse(&text).unwrap();
            assert!(token.is_for(SCOPE, &id("a:b")), "{resource}");
            assert!(!token.is_for("0ne00000002", &id("a:b")), "{resource}");
            assert!(!token.is_for(SCOPE, &id("a:c")), "{resource}");
        }
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for text in ["", "SharedAccessSignature sr=a&se=1", "Bearer x"] {
            assert!(Token::parse(text).is_err(), "{text}");
        }
    }
}
