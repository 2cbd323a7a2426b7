//! The credentials of an Arc machine's relay.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::backend::relay::proto::{Entity, Malformed, Namespace, UnixSeconds};
use crate::secret::Secret;

/// The credentials of an Arc machine's relay, as Azure Resource Manager lists them and `az ssh` passes them on \[Z].
#[derive(Clone)]
pub(crate) struct RelayInfo {
    /// The namespace.
    pub namespace: Namespace,
    /// The machine's hybrid connection.
    pub entity: Entity,
    /// A token for it.
    pub token: Secret,
    /// The token of the service's configuration, for the header of that name.
    pub configuration: Option<Secret>,
    /// When the token expires, if that is known.
    pub expiry: Option<UnixSeconds>,
}

impl RelayInfo {
    /// Parses what `az ssh` writes: JSON in base64, of which line breaks are no part.
    ///
    /// # Errors
    /// Returns [`Malformed`] if it is something else. The error contains nothing of it.
    pub(crate) fn decode(text: &str) -> Result<Self, Malformed> {
        let text: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        let bare = text.trim_end_matches('=').as_bytes();
        let decoded = BASE64_NOPAD.decode(bare).or_else(|_| BASE64.decode(text.as_bytes()));
        let json = Zeroizing::new(decoded.map_err(|_| Malformed::new("it is not base64"))?);
        let json = std::str::from_utf8(&json).map_err(|_| Malformed::new("it is not JSON in base64"))?;
        Self::parse(json)
    }

    /// Parses the answer of Azure Resource Manager: the members in an object `relay`, or alone.
    ///
    /// # Errors
    /// Returns [`Malformed`] if a member is missing or invalid. The error contains nothing of a secret.
    pub(crate) fn parse(json: &str) -> Result<Self, Malformed> {
        // serde's error may contain the text.
        let Ok(Value::Object(whole)) = serde_json::from_str(json) else {
            return Err(Malformed::new("it is not a JSON object"));
        };
        let members = whole.get("relay").and_then(Value::as_object).unwrap_or(&whole);
        let needed = |name: &str| {
            text(members, name).ok_or_else(|| Malformed::new(format!("{name} is missing in it")))
        };
        let name = needed("namespaceName")?;
        let host = match text(members, "namespaceNameSuffix") {
            Some(suffix) => format!("{name}.{}", suffix.trim_start_matches('.')),
            None => name.to_owned(),
        };
        Ok(Self {
            namespace: Namespace::parse(&host, "namespaceName")?,
            entity: Entity::parse(needed("hybridConnectionName")?)?,
            token: Secret::new(needed("accessKey")?),
            configuration: text(members, "serviceConfigurationToken").map(Secret::new),
            expiry: members.get("expiresOn").and_then(seconds).map(UnixSeconds),
        })
    }

    /// Checks that the namespace is in the cloud with `suffix`, so that nobody else gets the token. A host on loopback is
    /// no cloud's.
    ///
    /// # Errors
    /// Returns [`Malformed`] with the namespace's host otherwise.
    pub(crate) fn check_cloud(&self, suffix: &str) -> Result<(), Malformed> {
        let host = &self.namespace.host;
        let suffix = suffix.trim_start_matches('.').to_ascii_lowercase();
        let is_below = host.strip_suffix(&suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if is_below || is_loopback(host) {
            return Ok(());
        }
        Err(Malformed::new(format!("it names the relay {host}, which is not in {suffix}")))
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

impl fmt::Debug for RelayInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayInfo").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JSON: &str = r#"{"relay": {"namespaceName": "azgnrelay-eastus-l1", "namespaceNameSuffix": "servicebus.windows.net",
        "hybridConnectionName": "microsoft.hybridcompute/machines/0123/1", "accessKey": "SharedAccessSignature sr=hunter2",
        "expiresOn": 1795394289, "serviceConfigurationToken": "eyJ.hunter3.x"}}"#;

    #[test]
    fn reads_what_az_writes() {
        let info = RelayInfo::decode(&BASE64.encode(JSON.as_bytes())).unwrap();
        assert_eq!(info.namespace.host, "azgnrelay-eastus-l1.servicebus.windows.net");
        assert_eq!(info.entity.to_string(), "microsoft.hybridcompute/machines/0123/1");
        assert_eq!(info.token.expose(), "SharedAccessSignature sr=hunter2");
        assert_eq!(info.configuration.as_ref().unwrap().expose(), "eyJ.hunter3.x");
        assert_eq!(info.expiry, Some(UnixSeconds(1_795_394_289)));
        assert!(!format!("{info:?}").contains("hunter"));
        // Wrapped lines, no padding, and the members alone.
        let bare = r#"{"namespaceName":"localhost:8443","hybridConnectionName":"m","accessKey":"k","expiresOn":"7"}"#;
        let wrapped: String = BASE64_NOPAD
            .encode(bare.as_bytes())
            .as_bytes()
            .chunks(76)
            .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
            .collect();
        let info = RelayInfo::decode(&wrapped).unwrap();
        assert_eq!(
            (info.namespace.to_string().as_str(), info.expiry),
            ("localhost:8443", Some(UnixSeconds(7)))
        );
    }

    #[test]
    fn errors_show_no_secret() {
        for (text, problem) in [
            ("!", "not base64"),
            ("//79", "not JSON in base64"),
            ("W10=", "not a JSON object"),
            (&BASE64.encode(JSON.replace("accessKey", "x").as_bytes()), "accessKey is missing"),
            (&BASE64.encode(JSON.replace("machines", "..").as_bytes()), "'..'"),
        ] {
            let said = RelayInfo::decode(text).unwrap_err().0;
            assert!(said.contains(problem) && !said.contains("hunter"), "{said}");
        }
    }

    #[test]
    fn the_token_goes_to_its_own_cloud() {
        let info = |host: &str| RelayInfo {
            namespace: Namespace::parse(host, "x").unwrap(),
            ..RelayInfo::parse(JSON).unwrap()
        };
        for (host, suffix, is_taken) in [
            ("a.servicebus.windows.net", "servicebus.windows.net", true),
            ("a.servicebus.windows.net", ".ServiceBus.windows.net", true),
            ("evilservicebus.windows.net", "servicebus.windows.net", false),
            ("a.servicebus.chinacloudapi.cn", "servicebus.windows.net", false),
            ("a.servicebus.chinacloudapi.cn", "servicebus.chinacloudapi.cn", true),
            ("localhost:8443", "servicebus.windows.net", true),
        ] {
            assert_eq!(info(host).check_cloud(suffix).is_ok(), is_taken, "{host} {suffix}");
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(text in ".*", json in "[\\[\\]{}\":,a-z0-9]{0,60}") {
            let _ = RelayInfo::decode(&text);
            let _ = RelayInfo::parse(&json);
        }
    }
}
