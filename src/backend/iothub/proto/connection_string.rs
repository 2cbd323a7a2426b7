//! Connection strings of policies and devices.

use super::{HubAddress, Identity, Malformed, SasToken, pasted};
use crate::backend::pasted_text;
use crate::secret::Secret;

/// The credential in a connection string.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// A key that signs tokens; base64.
    Shared(Secret),
    /// A token signed elsewhere, used until it expires.
    Signature(SasToken),
    /// A client certificate, configured elsewhere (`x509=true`).
    Certificate,
}

/// A parsed connection string:
/// `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…` of a policy, or
/// `HostName=…;DeviceId=…[;ModuleId=…];SharedAccessKey=…` of a device \[S].
#[derive(Clone, Debug)]
pub(crate) struct ConnectionString {
    /// `HostName`.
    pub hub: HubAddress,
    /// `GatewayHostName`: the host to connect to. The hub remains the audience of tokens \[S].
    pub gateway: Option<HubAddress>,
    /// The policy of the key; `None` for a device.
    pub policy: Option<String>,
    /// The device or module; `None` for a policy.
    pub identity: Option<Identity>,
    /// The credential.
    pub key: Key,
}

impl ConnectionString {
    /// Parses a connection string in any form that users paste.
    ///
    /// # Errors
    /// Returns which part is missing, duplicate, unknown or malformed, and never its value.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        Self::parse_plain(Self::plain(text)?.expose())
    }

    /// Extracts the connection string from pasted text.
    ///
    /// # Errors
    /// Returns the kind of other content.
    pub(crate) fn plain(text: &str) -> Result<Secret, Malformed> {
        pasted_text::connection_string(text, &pasted::FORM, |text| Self::parse_plain(text).is_ok())
    }

    fn parse_plain(text: &str) -> Result<Self, Malformed> {
        let [hub, gateway, policy, key, signature, device, module, x509] =
            pasted_text::values(text, &pasted::PARTS)?;
        let missing = |name: &str| Malformed::new(format!("the connection string has no {name}"));
        let x509 = match x509.map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Malformed::new("x509 is neither true nor false in the connection string")),
        };
        let key = match (key, signature, x509) {
            (Some(key), None, false) => {
                pasted_text::check_key(key)?;
                let key = Secret::new(pasted::key(key));
                data_encoding::BASE64
                    .decode(key.expose().as_bytes())
                    .map_err(|_| Malformed::new("SharedAccessKey is not base64 in the connection string"))?;
                Key::Shared(key)
            }
            (None, Some(token), false) => Key::Signature(SasToken::parse(token)?),
            (None, None, true) => Key::Certificate,
            (None, None, false) => return Err(missing("SharedAccessKey")),
            _ => {
                return Err(Malformed::new(
                    "the connection string has more than one of SharedAccessKey, SharedAccessSignature and x509",
                ));
            }
        };
        let identity = match (device, module) {
            (Some(device), module) => Some(Identity::new(device, module)?),
            (None, Some(_)) => return Err(missing("DeviceId beside its ModuleId")),
            (None, None) => None,
        };
        let hub = hub.ok_or_else(|| missing("HostName"))?;
        // Browsers copy the host name as a URL.
        let hub = hub.strip_prefix("https://").map_or(hub, |hub| hub.trim_end_matches('/'));
        if hub.to_ascii_lowercase().contains(".azure-devices-provisioning.") {
            return Err(Malformed::new("HostName is that of a provisioning service, not of a hub"));
        }
        Ok(Self {
            hub: HubAddress::parse(hub)?,
            gateway: gateway.map(HubAddress::parse).transpose()?,
            policy: policy.map(str::to_owned),
            identity,
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_connection_strings_of_policies_and_devices() {
        let service = ConnectionString::parse(
            "HostName=contoso.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0MQ==\n",
        )
        .unwrap();
        assert_eq!(service.hub.name, "contoso.azure-devices.net");
        assert_eq!(service.policy.as_deref(), Some("service"));
        assert!(service.identity.is_none());
        assert!(matches!(service.key, Key::Shared(key) if key.expose() == "c2VjcmV0MQ=="));

        let device = ConnectionString::parse(
            "HostName=h;DeviceId=Line(3),Press=2;ModuleId=m;SharedAccessKey=AAAA;GatewayHostName=edge",
        )
        .unwrap();
        assert_eq!(device.identity, Some(Identity::new("Line(3),Press=2", Some("m")).unwrap()));
        assert_eq!(device.gateway.unwrap().name, "edge");

        let signature = ConnectionString::parse(
            "HostName=h;DeviceId=d;SharedAccessSignature=SharedAccessSignature sr=h&sig=AAAA&se=1",
        );
        assert!(matches!(signature.unwrap().key, Key::Signature(_)));
        let certificate = ConnectionString::parse("HostName=h;DeviceId=d;x509=true");
        assert!(matches!(certificate.unwrap().key, Key::Certificate));
    }

    #[test]
    fn errors_name_the_part_and_never_the_key() {
        for (text, problem) in [
            ("", "the connection string is empty"),
            ("DeviceId=d", "the connection string has no SharedAccessKey"),
            ("SharedAccessKey=AAAA", "the connection string has no HostName"),
            (
                "HostName=h;SharedAccessKey=AAAA;SharedAccessKey=AAAA",
                "SharedAccessKey is in the connection string twice",
            ),
            ("HostName=h;SharedAccessKey=hunter2", "SharedAccessKey is not base64 in the connection string"),
            (
                "HostName=h;SharedAccessKeyHunter=AAAA",
                "SharedAccessKeyHunter is no part of a connection string",
            ),
            ("HostName=h;AAAAbbbb1+/==", "the connection string has a part with an unknown name"),
            ("HostName=h;hunter2", "the connection string has a part without '='"),
            ("HostName=;SharedAccessKey=AAAA", "HostName is empty in the connection string"),
            (
                "HostName=h;ModuleId=m;SharedAccessKey=AAAA",
                "the connection string has no DeviceId beside its ModuleId",
            ),
            ("HostName=h;DeviceId=a b;SharedAccessKey=AAAA", "' ' cannot be part of a device id"),
            (
                "HostName=global.azure-devices-provisioning.us;DeviceId=d;SharedAccessKey=AAAA",
                "HostName is that of a provisioning service, not of a hub",
            ),
            ("HostName=h;x509=maybe", "x509 is neither true nor false in the connection string"),
        ] {
            assert_eq!(ConnectionString::parse(text).unwrap_err().0, problem, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(
            hub in "[a-z0-9-]{1,20}(:[1-9][0-9]{0,3})?",
            device in proptest::option::of("[A-Za-z0-9:.+%_#*?!(),=@$'-]{1,128}"),
            policy in proptest::option::of("[A-Za-z0-9_.@-]{1,64}"),
            key in any::<[u8; 32]>(),
            order in any::<bool>(),
        ) {
            let key = data_encoding::BASE64.encode(&key);
            let mut pairs = vec![format!("HostName={hub}"), format!("SharedAccessKey={key}")];
            pairs.extend(device.as_ref().map(|id| format!("DeviceId={id}")));
            pairs.extend(policy.as_ref().map(|name| format!("SharedAccessKeyName={name}")));
            if order {
                pairs.reverse();
            }
            let parsed = ConnectionString::parse(&pairs.join(";")).unwrap();
            prop_assert_eq!(parsed.hub.to_string(), hub);
            prop_assert_eq!(parsed.identity.map(|identity| identity.device().to_owned()), device);
            prop_assert_eq!(parsed.policy, policy);
            prop_assert!(matches!(parsed.key, Key::Shared(read) if read.expose() == key));
        }

        #[test]
        fn never_panics_and_never_shows_a_key(text in any::<String>(), key in "[a-z0-9]{20}") {
            let _ = ConnectionString::parse(&text);
            let shown = format!("{:?}", ConnectionString::parse(&format!("HostName=h;SharedAccessKey={key};{text}")));
            prop_assert!(!shown.contains(&key));
        }
    }
}
