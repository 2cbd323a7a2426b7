//! The tokens with which the sides of a stream join.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::side::Side;
use crate::emulator::iothub::random_id::random_id;
use crate::secret::Secret;
use crate::time::clock;

/// The life of a token \[I]\[~].
const LIFE: Duration = Duration::from_secs(60);

/// Makes and reads tokens, with a key that is new at each start. `Debug` shows no key.
#[derive(Debug)]
pub(super) struct Tokens(Hmac<Sha256>);

impl Tokens {
    /// Makes a new key.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..])?;
        Ok(Self(Hmac::<Sha256>::new_from_slice(&key[..]).expect("HMAC takes keys of any length")))
    }

    /// A token for one side of a stream: a JWT as the service's \[I], with claims of our choice.
    pub(super) fn make(&self, stream: &str, side: Side, now: SystemTime) -> Result<Secret, getrandom::Error> {
        let expiry = clock::unix_seconds(now).0 + LIFE.as_secs();
        let header = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"HS256"}"#);
        let claims = json!({ "exp": expiry, "jti": random_id()?, "sid": stream, "role": side.name() });
        let signed = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
        let signature = BASE64URL_NOPAD.encode(&self.mac(&signed).finalize().into_bytes());
        Ok(Secret::new(format!("{signed}.{signature}")))
    }

    /// The claims of a token that this key signed and that has not expired.
    pub(super) fn claims(&self, token: &str, now: SystemTime) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        self.mac(signed).verify_slice(&signature).ok()?;
        let (_, claims) = signed.split_once('.')?;
        let claims: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?).ok()?;
        claims["exp"].as_u64().filter(|expiry| *expiry > clock::unix_seconds(now).0)?;
        Some(claims)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(text)
    }
}
