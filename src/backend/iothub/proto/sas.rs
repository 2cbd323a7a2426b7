//! Shared access signatures, which clients sign and the emulator verifies.

use std::fmt;

use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use super::{Malformed, encode, names::HubAddress, names::Identity};
use crate::backend::signature::{self, Fields};
use crate::secret::Secret;
use crate::time::clock::UnixSeconds;

/// The resource of a token, encoded as in `sr=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource(String);

impl Resource {
    /// The whole hub, for service calls: `sr={hub}`, the host without its port \[D]\[M].
    pub(crate) fn hub(hub: &HubAddress) -> Self {
        Self(encode(&hub.name).to_string())
    }

    /// One device or module: `sr={hub}%2Fdevices%2F{id}[%2Fmodules%2F{id}]`, encoded as in Python's SDK \[M].
    pub(crate) fn identity(hub: &HubAddress, identity: &Identity) -> Self {
        let mut uri = format!("{}/devices/{}", hub.name, identity.device());
        if let Some(module) = identity.module() {
            uri += &format!("/modules/{module}");
        }
        Self(encode(&uri).to_string())
    }
}

/// A parsed shared access signature. Its fields may have any order \[S]\[M].
#[derive(Clone)]
pub(crate) struct SasToken {
    text: Secret,
    resource: String,
    signature: Vec<u8>,
    expiry: UnixSeconds,
    policy: Option<String>,
}

impl SasToken {
    /// Signs a token for `resource` until `expiry`. `policy` is `None` for a device's key.
    ///
    /// # Errors
    /// Returns [`Malformed`] if `key` is not base64.
    pub(crate) fn sign(
        resource: &Resource,
        expiry: UnixSeconds,
        key: &Secret,
        policy: Option<&str>,
    ) -> Result<Self, Malformed> {
        let signature = mac(&resource.0, expiry, key)?.finalize().into_bytes().to_vec();
        Ok(Self::signed(resource, expiry, signature, policy))
    }

    /// What a signature of [`Self::signed`] signs.
    pub(crate) fn message(resource: &Resource, expiry: UnixSeconds) -> Vec<u8> {
        signature::message(&resource.0, &expiry.0.to_string()).into_bytes()
    }

    /// The token with a `signature` over [`Self::message`].
    pub(crate) fn signed(
        resource: &Resource,
        expiry: UnixSeconds,
        signature: Vec<u8>,
        policy: Option<&str>,
    ) -> Self {
        Self {
            text: signature::text(&resource.0, &signature, expiry, policy),
            resource: resource.0.clone(),
            signature,
            expiry,
            policy: policy.map(str::to_owned),
        }
    }

    /// Parses a token from a header or a password.
    ///
    /// # Errors
    /// Returns [`Malformed`] if the scheme or a field is missing, duplicate or malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let Fields { resource, signature, expiry, key_name, .. } = Fields::parse(text)?;
        let resource = resource.to_owned();
        Ok(Self { text: Secret::new(text), resource, signature, expiry, policy: key_name })
    }

    /// Whether `key` made this signature. Verifies `sr` as received, because clients encode it differently and sign what
    /// they send \[S]\[M].
    pub(crate) fn is_signed_by(&self, key: &Secret) -> bool {
        mac(&self.resource, self.expiry, key).is_ok_and(|mac| mac.verify_slice(&self.signature).is_ok())
    }

    /// The decoded resource: `{hub}` or `{hub}/devices/{id}`.
    pub(crate) fn uri(&self) -> String {
        percent_decode_str(&self.resource).decode_utf8_lossy().into_owned()
    }

    /// When the token expires.
    pub(crate) fn expiry(&self) -> UnixSeconds {
        self.expiry
    }

    /// The policy of the key, if any.
    pub(crate) fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The token for an `Authorization` header or an MQTT password.
    pub(crate) fn text(&self) -> &Secret {
        &self.text
    }
}

impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SasToken(sr={}, se={}, skn={:?})", self.resource, self.expiry.0, self.policy)
    }
}

fn mac(resource: &str, expiry: UnixSeconds, key: &Secret) -> Result<Hmac<Sha256>, Malformed> {
    Ok(signature::mac(key)?.chain_update(signature::message(resource, &expiry.0.to_string())))
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

    /// Tokens of Microsoft's clients \[M]: Node service client, C device SDK (twice), Python device SDK.
    const VECTORS: [(&str, u64, &str); 4] = [
        ("127.0.0.1", 1_795_396_174, "9PDZJwm9mWGCdHfzMt6xcZNWYXv8lmpzqup6h2Ofs3A="),
        ("127.0.0.1/devices/dev-1", 1_795_395_873, "MVrrSJOGOLUoAWHpIPYXAMTYkElciY/dkTQrdY4NGFc="),
        ("127.0.0.1/devices/dev-1", 1_795_396_168, "gOgqgZlK3rNGOeHRia/9otL8ZdsT9gujELk7R4GDoQY="),
        ("127.0.0.1%2Fdevices%2Fdev-py", 1_795_396_240, "7FjXyF4WLD2HDLFnZYzac4eoFyaGn//w3U/Lu6B0lmE="),
    ];

    #[test]
    fn signs_as_microsofts_clients_do() {
        for (sr, se, mac) in VECTORS {
            let token =
                SasToken::sign(&Resource(sr.into()), UnixSeconds(se), &Secret::new(KEY), None).unwrap();
            assert_eq!(BASE64.encode(&token.signature), mac, "{sr}");
        }
        assert_eq!(SasToken::message(&Resource("a%2Fb".into()), UnixSeconds(7)), b"a%2Fb\n7");
    }

    #[test]
    fn verifies_tokens_of_microsofts_clients() {
        let key = Secret::new(KEY);
        for text in [
            // Node's order and the C SDK's lower-case hex [M].
            "SharedAccessSignature sr=127.0.0.1&sig=9PDZJwm9mWGCdHfzMt6xcZNWYXv8lmpzqup6h2Ofs3A%3D&skn=service&se=1795396174",
            "SharedAccessSignature sr=127.0.0.1/devices/dev-1&sig=MVrrSJOGOLUoAWHpIPYXAMTYkElciY%2fdkTQrdY4NGFc%3d&se=1795395873",
        ] {
            let token = SasToken::parse(text).unwrap();
            assert!(token.is_signed_by(&key), "{text}");
            assert!(!token.is_signed_by(&Secret::new("MDEyMzQ1Njc4OWFiY2RlZw==")), "{text}");
            let later = SasToken::parse(&text.replace("se=17953", "se=17954")).unwrap();
            assert!(!later.is_signed_by(&key), "{text}");
        }
    }

    #[test]
    fn writes_the_fields_in_the_documented_order() {
        let hub = HubAddress::parse("contoso.azure-devices.net:8443").unwrap();
        let device = Identity::new("a#b", Some("m")).unwrap();
        let sign =
            |resource, policy| SasToken::sign(&resource, UnixSeconds(7), &Secret::new(KEY), policy).unwrap();
        let text = sign(Resource::hub(&hub), Some("service")).text.expose().to_owned();
        assert!(text.starts_with("SharedAccessSignature sr=contoso.azure-devices.net&sig="), "{text}");
        assert!(text.ends_with("%3D&se=7&skn=service"), "{text}");
        let token = sign(Resource::identity(&hub, &device), None);
        assert_eq!(token.resource, "contoso.azure-devices.net%2Fdevices%2Fa%23b%2Fmodules%2Fm");
        assert_eq!(token.uri(), "contoso.azure-devices.net/devices/a#b/modules/m");
        assert!(!format!("{token:?}").contains("sig"));
    }

    #[test]
    fn refuses_malformed_tokens() {
        let whole = "SharedAccessSignature sr=a&sig=AAAA&se=1";
        assert!(SasToken::parse(whole).is_ok());
        for text in [
            "",
            "Bearer x",
            "SharedAccessSignature ",
            "SharedAccessSignature sr=a&sig=AAAA",
            "SharedAccessSignature sr=a&se=1",
            "SharedAccessSignature sig=AAAA&se=1",
            "SharedAccessSignature sr=a&sr=a&sig=AAAA&se=1",
            "SharedAccessSignature sr=a&sig=!&se=1",
            "SharedAccessSignature sr=a&sig=AAAA&se=-1",
            "SharedAccessSignature sr&sig=AAAA&se=1",
        ] {
            assert!(SasToken::parse(text).is_err(), "{text}");
        }
        let key = Secret::new("hunter2!");
        let problem = SasToken::sign(&Resource("a".into()), UnixSeconds(1), &key, None).unwrap_err();
        assert!(!problem.0.contains("hunter2"), "{problem}");
    }

    proptest! {
        #[test]
        fn verifies_what_it_signs(id in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,128}", se in any::<u64>(), key in any::<[u8; 32]>()) {
            let hub = HubAddress::parse("h").unwrap();
            let resource = Resource::identity(&hub, &Identity::new(&id, None).unwrap());
            let key = Secret::new(BASE64.encode(&key));
            let token = SasToken::sign(&resource, UnixSeconds(se), &key, Some("p+q")).unwrap();
            let read = SasToken::parse(token.text().expose()).unwrap();
            prop_assert!(read.is_signed_by(&key));
            prop_assert_eq!(read.expiry(), UnixSeconds(se));
            prop_assert_eq!(read.policy(), Some("p+q"));
        }

        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = SasToken::parse(&text);
            let _ = SasToken::parse(&format!("SharedAccessSignature {text}"));
        }
    }
}
