//! Shared access signatures, which clients sign and the emulator verifies.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use super::{Entity, Malformed, Namespace, UnixSeconds, encode};
use crate::backend::signature::{self, Fields};
use crate::secret::Secret;

/// The resource of a token, encoded as in `sr=`: `http://HOST/PATH/`, as .NET signs it, with the namespace alone without
/// `entity` \[D]. The port is left out.
pub(crate) fn resource(namespace: &Namespace, entity: Option<&Entity>) -> String {
    let host =
        if namespace.host.contains(':') { format!("[{}]", namespace.host) } else { namespace.host.clone() };
    let path = entity.map_or_else(String::new, |entity| format!("{}/", entity.encoded()));
    encode(&format!("http://{host}/{path}")).to_string()
}

/// A parsed shared access signature. Its fields may have any order \[D].
#[derive(Clone)]
pub(crate) struct SasToken {
    text: Secret,
    resource: String,
    signature: Vec<u8>,
    /// As received, because it is signed.
    expires: String,
    expiry: UnixSeconds,
    rule: Option<String>,
}

impl SasToken {
    /// Signs a token for `resource`, which is encoded, until `expiry`. The key is used as text and not decoded \[D]\[J]\[N].
    pub(crate) fn sign(resource: &str, expiry: UnixSeconds, rule: &str, key: &Secret) -> Self {
        let expires = expiry.0.to_string();
        let signature = mac(resource, &expires, key).finalize().into_bytes().to_vec();
        Self {
            text: signature::text(resource, &signature, expiry, Some(rule)),
            resource: resource.to_owned(),
            signature,
            expires,
            expiry,
            rule: Some(rule.to_owned()),
        }
    }

    /// Parses a token.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the scheme or a field is missing, duplicate or malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let Fields { resource, signature, expires, expiry, key_name } = Fields::parse(text)?;
        let (resource, expires) = (resource.to_owned(), expires.to_owned());
        Ok(Self { text: Secret::new(text), resource, signature, expires, expiry, rule: key_name })
    }

    /// Whether `key` made this signature. Verifies `sr` and `se` as received, because clients encode `sr` differently and
    /// sign what they send \[D]\[T].
    pub(crate) fn is_signed_by(&self, key: &Secret) -> bool {
        mac(&self.resource, &self.expires, key).verify_slice(&self.signature).is_ok()
    }

    /// The decoded resource.
    pub(crate) fn uri(&self) -> String {
        percent_decode_str(&self.resource).decode_utf8_lossy().into_owned()
    }

    /// When the token expires.
    pub(crate) fn expiry(&self) -> UnixSeconds {
        self.expiry
    }

    /// The rule of the key.
    pub(crate) fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The token for a header.
    pub(crate) fn text(&self) -> &Secret {
        &self.text
    }
}

impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource)
            .field("expiry", &self.expiry)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

fn mac(resource: &str, expires: &str, key: &Secret) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(signature::message(resource, expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;
    use proptest::prelude::*;

    /// Vectors of Microsoft's clients: the first came out of hyco-ws, and the second is .NET's form.
    const VECTORS: [(&str, &str); 3] = [
        ("http://ns.servicebus.windows.net:443/hyco", "pksFmAmfdUugOe4E7X/HlaMi/Ym6lZVamIL8DH90D5U="),
        ("http://ns.servicebus.windows.net/hyco/", "zeP8z9Zd/F12tLdeCRzCYmdKN0Cwwnty95a5XwwTNm0="),
        ("http://ns.servicebus.windows.net/", "H82BUbRfXCaUHA/Ab1WZBz1gS2XqWE60kI9QgPAZFis="),
    ];

    #[test]
    fn signs_as_microsofts_clients_do() {
        let key = Secret::new("a2V5");
        for (uri, signature) in VECTORS {
            let resource = encode(uri).to_string();
            let token = SasToken::sign(&resource, UnixSeconds(1_795_394_289), "rule", &key);
            let expected = format!(
                "SharedAccessSignature sr={resource}&sig={}&se=1795394289&skn=rule",
                encode(signature)
            );
            assert_eq!(token.text().expose(), expected);
            let parsed = SasToken::parse(&expected).unwrap();
            assert!(parsed.is_signed_by(&key) && !parsed.is_signed_by(&Secret::new("a2V6")));
            assert_eq!((parsed.uri().as_str(), parsed.rule()), (uri, Some("rule")));
        }
        let namespace = Namespace::parse("NS.servicebus.windows.net:8443", "x").unwrap();
        let entity = Entity::parse("hyco").unwrap();
        assert_eq!(resource(&namespace, Some(&entity)), encode(VECTORS[1].0).to_string());
        assert_eq!(resource(&namespace, None), encode(VECTORS[2].0).to_string());
    }

    #[test]
    fn verifies_the_resource_as_it_was_sent() {
        let key = Secret::new("k");
        let lower = "http%3a%2f%2fns%2fhyco";
        let token = SasToken::sign(lower, UnixSeconds(9), "r", &key);
        let (sr, sig) = (lower, encode(&BASE64.encode(&token.signature)).to_string());
        let text = format!("SharedAccessSignature se=9&skn=r&sig={sig}&sr={sr}");
        assert!(SasToken::parse(&text).unwrap().is_signed_by(&key));
        let upper = text.replace("%3a%2f%2f", "%3A%2F%2F");
        assert!(!SasToken::parse(&upper).unwrap().is_signed_by(&key));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".*", fields in "[a-z=&%0-9A-F]{0,60}") {
            let _ = SasToken::parse(&text);
            let _ = SasToken::parse(&format!("SharedAccessSignature {fields}"));
        }
    }
}
