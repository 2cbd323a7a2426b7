//! Connection strings of namespaces and hybrid connections.

use super::{Entity, Malformed, Namespace, SasToken};
use crate::backend::pasted_text::{self, Form};
use crate::secret::Secret;

/// The names of a connection string's parts.
const PARTS: [&str; 7] = [
    "Endpoint",
    "EntityPath",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "SharedAccessSignature",
    "OperationTimeout",
    "Authentication",
];

const FORM: Form = Form { mark: "endpoint=", parts: &PARTS, name: "a relay's connection string" };

/// The longest rule name and key in characters \[D]\[J].
const LONGEST: usize = 256;

/// The credential in a connection string.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// The key of a rule, which signs tokens.
    Rule { name: String, key: Secret },
    /// A token signed elsewhere, used until it expires.
    Signature(SasToken),
}

/// A parsed connection string:
/// `Endpoint=sb://HOST/;SharedAccessKeyName=…;SharedAccessKey=…[;EntityPath=…]` \[D].
#[derive(Clone, Debug)]
pub(crate) struct ConnectionString {
    /// `Endpoint`.
    pub namespace: Namespace,
    /// `EntityPath`; `None` for a namespace's.
    pub entity: Option<Entity>,
    /// The credential.
    pub key: Key,
}

/// Whether `text`, in any form that users paste, has the key of a relay's connection string and not of a hub's.
pub(crate) fn is_relay(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
    let plain = zeroize::Zeroizing::new(plain);
    ["endpoint=sb://", "endpoint%3dsb%3a%2f%2f"].iter().any(|mark| plain.contains(mark))
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
        pasted_text::connection_string(text, &FORM, |text| Self::parse_plain(text).is_ok())
    }

    fn parse_plain(text: &str) -> Result<Self, Malformed> {
        let [endpoint, entity, rule, key, signature, _timeout, authentication] =
            pasted_text::values(text, &PARTS)?;
        let missing = |name: &str| Malformed::new(format!("the connection string has no {name}"));
        if authentication.is_some() {
            return Err(Malformed::new(
                "Authentication in the connection string is not supported: use relay and token-command",
            ));
        }
        let key = match (rule, key, signature) {
            (Some(name), Some(key), None) => rule_key(name, key)?,
            (None, None, Some(token)) => Key::Signature(SasToken::parse(token)?),
            (None, None, None) => return Err(missing("SharedAccessKeyName and SharedAccessKey")),
            (Some(_), None, None) => return Err(missing("SharedAccessKey")),
            (None, Some(_), None) => return Err(missing("SharedAccessKeyName")),
            (_, _, Some(_)) => {
                return Err(Malformed::new(
                    "the connection string has SharedAccessSignature and a key: keep one of them",
                ));
            }
        };
        Ok(Self {
            namespace: Namespace::endpoint_of(endpoint.ok_or_else(|| missing("Endpoint"))?)?,
            entity: entity.map(Entity::parse).transpose()?,
            key,
        })
    }
}

fn rule_key(name: &str, key: &str) -> Result<Key, Malformed> {
    pasted_text::check_key(key)?;
    // A key has no white space, but a broken line puts some into it.
    let key: String = key.split_whitespace().collect();
    for (part, value) in [("SharedAccessKeyName", name), ("SharedAccessKey", key.as_str())] {
        if value.chars().count() > LONGEST {
            return Err(Malformed::new(format!("{part} is longer than {LONGEST} characters")));
        }
    }
    Ok(Key::Rule { name: name.to_owned(), key: Secret::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str =
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=a2V5a2V5=";

    #[test]
    fn reads_namespaces_and_hybrid_connections() {
        let parsed = ConnectionString::parse(TEXT).unwrap();
        assert_eq!(
            (parsed.namespace.to_string().as_str(), parsed.entity),
            ("ns.servicebus.windows.net", None)
        );
        assert!(
            matches!(parsed.key, Key::Rule { name, key } if name == "send" && key.expose() == "a2V5a2V5=")
        );
        let parsed =
            ConnectionString::parse(&format!("{TEXT};entitypath=/a/B;OperationTimeout=00:01:00;;")).unwrap();
        assert_eq!(parsed.entity.unwrap().to_string(), "a/B");
        let signature = "Endpoint=sb://localhost:8443/;SharedAccessSignature=SharedAccessSignature sr=x&sig=AAAA&se=9&skn=r";
        let parsed = ConnectionString::parse(signature).unwrap();
        assert!(matches!(parsed.key, Key::Signature(token) if token.rule() == Some("r")));
    }

    #[test]
    fn reads_what_users_paste() {
        for text in [
            format!("\u{feff}{TEXT}\r\n"),
            format!("\"{TEXT}\""),
            format!("connection-string = \"{TEXT}\""),
            format!("{{\n  \"keyName\": \"send\",\n  \"primaryConnectionString\": \"{TEXT}\"\n}}"),
            format!("{}\n{}", &TEXT[..40], &TEXT[40..]),
            format!("{}\n{}", &TEXT[..TEXT.len() - 4], &TEXT[TEXT.len() - 4..]),
            TEXT.replace('=', "%3D").replace(';', "%3B").replace("://", "%3A%2F%2F"),
        ] {
            assert!(is_relay(&text), "{text}");
            let parsed = ConnectionString::parse(&text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert!(matches!(parsed.key, Key::Rule { key, .. } if key.expose() == "a2V5a2V5="), "{text}");
        }
        assert!(!is_relay("HostName=h;SharedAccessKeyName=p;SharedAccessKey=AAAA"));
    }

    #[test]
    fn errors_name_the_part_and_not_its_value() {
        for (text, problem) in [
            ("Endpoint=sb://ns/;SharedAccessKeyName=hunter2", "has no SharedAccessKey"),
            ("Endpoint=sb://ns/;SharedAccessKey=hunter2", "has no SharedAccessKeyName"),
            ("Endpoint=sb://ns/", "has no SharedAccessKeyName and SharedAccessKey"),
            ("SharedAccessKeyName=a;SharedAccessKey=hunter2", "has no Endpoint"),
            ("Endpoint=sb://ns/;Entity=hunter2", "Entity is no part"),
            ("Endpoint=sb://ns/;hunter2", "without '='"),
            ("Endpoint=sb://ns/;SharedAccessKeyName=a;SharedAccessKey=b;SharedAccessSignature=c", "keep one"),
            ("Endpoint=sb://ns/;Endpoint=sb://ns/", "twice"),
            ("Endpoint=sb://ns/;SharedAccessKeyName=a;SharedAccessKey=<hunter2>", "placeholder"),
            ("Endpoint=sb://ns/;Authentication=Managed Identity", "use relay and token-command"),
            ("Endpoint=sb://ns/;SharedAccessKeyName=a;SharedAccessKey=b;EntityPath=a/../hunter2", "'..'"),
        ] {
            let said = ConnectionString::parse(text).unwrap_err().0;
            assert!(said.contains(problem) && !said.contains("hunter2"), "{text}: {said}");
        }
        let long = format!("Endpoint=sb://ns/;SharedAccessKeyName=a;SharedAccessKey={}", "k".repeat(257));
        assert!(ConnectionString::parse(&long).unwrap_err().0.contains("longer than 256"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "([a-zA-Z\"' =;:/{}\\[\\]\n]{0,6}(Endpoint=sb://|SharedAccessKey=|endpoint%3D)?){0,4}") {
            let _ = ConnectionString::parse(&text);
            let _ = is_relay(&text);
        }
    }
}
