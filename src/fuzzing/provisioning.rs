//! What a Device Provisioning Service says.

use hyper::HeaderMap;

use crate::backend::iothub::proto::{HubAddress, Identity};
use crate::backend::provisioning::dps::proto::{
    Answer, Assigned, Failure, RegistrationId, is_tpm_challenge, key, operation_path, register_path, token,
};
use crate::secret::Secret;
use crate::time::clock::UnixSeconds;

/// The answer to a registration.
pub fn answer(status: u16, headers: &HeaderMap, body: &[u8]) {
    match Answer::parse(status, body) {
        Ok(Answer::Assigned(Assigned { hub, identity, profile })) => {
            assert_eq!(HubAddress::parse(&hub.to_string()).ok(), Some(hub));
            assert_eq!(Identity::new(identity.device(), None).ok().as_ref(), Some(&identity));
            assert!(profile.is_none_or(|profile| !profile.eq_ignore_ascii_case("classic")));
        }
        Ok(Answer::Pending { operation: Some(operation), .. }) => {
            let id = "dev-1".parse().expect("an id");
            let path = operation_path("0ne0", &id, &operation);
            assert_eq!(path.matches(['/', '?']).count(), 6, "{path}");
        }
        Ok(Answer::Failed(explanation)) => is_short(&explanation.to_string()),
        Ok(_) | Err(_) => {}
    }
    let failure = Failure::of(status, headers, body);
    assert_eq!(failure.status, status);
    is_short(&failure.explanation.to_string());
    let _ = is_tpm_challenge(body);
}

/// Checks a text of the service that goes to terminals.
fn is_short(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    // Two texts of 300 characters, each at most ten bytes after it is escaped.
    assert!(text.len() <= 2 * 300 * 10 + 100);
}

/// A registration id, and a token for it by a key of these bytes.
pub fn registration(id: &str, key_bytes: &[u8], expiry: u64) {
    let Ok(id) = id.parse::<RegistrationId>() else { return };
    assert_eq!(id.to_string().parse::<RegistrationId>().ok().as_ref(), Some(&id));
    assert_eq!(register_path("0ne0", &id).matches(['/', '?']).count(), 5);
    let group = Secret::new(data_encoding::BASE64.encode(key_bytes));
    let Ok(own) = key::derive(&group, &id) else {
        assert!(key_bytes.is_empty(), "only an empty key derives none");
        return;
    };
    let text = token::sign("0ne0", &id, UnixSeconds(expiry), &own).expect("a derived key signs");
    let token = token::Token::parse(text.expose()).expect("a token of ours can be read");
    assert!(token.is_for("0ne0", &id) && token.is_signed_by(&own) && !token.is_signed_by(&group));
    assert_eq!(token.expiry(), UnixSeconds(expiry));
}

/// A token as a client sends it.
pub fn token(text: &str) {
    if let Ok(token) = token::Token::parse(text) {
        let id = "dev-1".parse().expect("an id");
        let is_for = token.is_for("0ne0", &id);
        assert!(!is_for || text.contains("sr="));
        assert!(!token.is_signed_by(&Secret::new("bm90IHRoZSBrZXkgb2YgYSB0b2tlbg==")));
    }
}
