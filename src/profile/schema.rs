//! What a profile file may say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use crate::duration;
use crate::secret::Secret;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) profile: BTreeMap<String, Profile>,
}

/// One `[profile.NAME]` section.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    pub connection_string: Option<SecretText>,
    pub connection_string_file: Option<PathBuf>,
    pub connection_string_env: Option<String>,
    /// Patterns of host names that this profile is for.
    #[serde(default)]
    pub hosts: Vec<String>,
    pub api_version: Option<String>,
    pub connect_timeout: Option<Seconds>,
    pub response_timeout: Option<Seconds>,
    pub ca_file: Option<PathBuf>,
    /// ssh's name for a device → the device.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
}

/// A device an alias stands for: an id alone, or a table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "a device id, or a table with id, module and stream")]
pub enum Device {
    Id(String),
    Table(DeviceTable),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeviceTable {
    /// Where it is missing, the alias is the id.
    pub id: Option<String>,
    pub module: Option<String>,
    pub stream: Option<String>,
}

/// A duration in a file: `"1m30s"`, or whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1m30s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Seconds, E> {
                duration::parse(text).map(Seconds).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                duration::parse(&seconds.to_string()).map(Seconds).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A secret in a file.
#[derive(Clone, Debug)]
pub struct SecretText(pub Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever else stands there may be the secret, mistyped: the message does not repeat it.
        match String::deserialize(deserializer) {
            Ok(text) => Ok(Self(Secret::new(text))),
            Err(_) => Err(D::Error::custom("a text in quotes is expected")),
        }
    }
}
