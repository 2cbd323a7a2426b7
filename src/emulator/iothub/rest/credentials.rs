//! How the registry's API describes the authentication of an identity.

use serde_json::{Value, json};

use crate::emulator::client_certificate::Thumbprint;
use crate::emulator::iothub::authentication::Authentication;
use crate::emulator::key::new_key;
use crate::secret::Secret;

/// The length of a key in bytes \[D].
const KEY: std::ops::RangeInclusive<usize> = 16..=64;

/// Reads a description; `None` where it leaves the keys to the hub.
///
/// # Errors
/// Returns what is wrong.
pub(super) fn parse(description: &Value) -> Result<Option<Authentication>, String> {
    match description["type"].as_str() {
        Some("selfSigned") => {
            let thumbprint = description["x509Thumbprint"]["primaryThumbprint"].as_str();
            let thumbprint = thumbprint.and_then(Thumbprint::parse);
            let thumbprint =
                thumbprint.ok_or("The primary thumbprint is not a SHA-256: the emulator takes no other.")?;
            Ok(Some(Authentication::SelfSigned(thumbprint)))
        }
        Some("certificateAuthority") => Ok(Some(Authentication::CertificateAuthority)),
        _ => {
            let keys = &description["symmetricKey"];
            Ok(match (key(&keys["primaryKey"])?, key(&keys["secondaryKey"])?) {
                (None, None) => None,
                (primary, secondary) => {
                    let given_or_new =
                        |key: Option<Secret>| key.map_or_else(new_key, Ok).map_err(|error| error.to_string());
                    Some(Authentication::SharedKeys {
                        primary: given_or_new(primary)?,
                        secondary: given_or_new(secondary)?,
                    })
                }
            })
        }
    }
}

fn key(value: &Value) -> Result<Option<Secret>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        value => value.as_str().unwrap_or("no base64"),
    };
    let length = data_encoding::BASE64.decode(text.as_bytes()).map(|key| zeroize::Zeroizing::new(key).len());
    match length {
        Ok(length) if KEY.contains(&length) => Ok(Some(Secret::new(text))),
        _ => Err(format!("A key is not the base64 of {} to {} bytes.", KEY.start(), KEY.end())),
    }
}

/// The name of the kind of authentication \[D].
pub(super) fn kind(authentication: &Authentication) -> &'static str {
    match authentication {
        Authentication::SharedKeys { .. } => "sas",
        Authentication::SelfSigned(_) => "selfSigned",
        Authentication::CertificateAuthority => "certificateAuthority",
    }
}

/// Describes an authentication, with its keys only where `shows_keys` is set.
pub(super) fn describe(authentication: &Authentication, shows_keys: bool) -> Value {
    let mut description = json!({ "type": kind(authentication) });
    match authentication {
        Authentication::SharedKeys { primary, secondary } if shows_keys => {
            description["symmetricKey"] =
                json!({ "primaryKey": primary.expose(), "secondaryKey": secondary.expose() });
        }
        // An object of thumbprints makes .NET's client take a device for a self-signed one [S].
        Authentication::SelfSigned(_) => description["x509Thumbprint"] = thumbprints(authentication),
        _ => {}
    }
    description
}

/// The thumbprints of an identity; a twin has them even where there are none \[D].
pub(super) fn thumbprints(authentication: &Authentication) -> Value {
    let primary = match authentication {
        Authentication::SelfSigned(thumbprint) => Some(thumbprint.to_string()),
        _ => None,
    };
    json!({ "primaryThumbprint": primary, "secondaryThumbprint": null })
}
