//! The keys of a profile file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::{CommandLine, Keys, Seconds, SecretText, has_password};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) profile: BTreeMap<String, Profile>,
}

impl Document {
    /// Whether the file itself holds a secret.
    pub(super) fn holds_secret(&self) -> bool {
        self.profile.values().any(|profile| {
            let password = |url: &SecretText| has_password(url.0.expose());
            profile.connection_string.is_some() || profile.proxy.as_ref().is_some_and(password)
        })
    }
}

/// One `[profile.NAME]` section.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    pub connection_string: Option<SecretText>,
    pub connection_string_file: Option<PathBuf>,
    pub connection_string_env: Option<String>,
    pub connection_string_command: Option<CommandLine>,
    /// The name of a file in systemd's `$CREDENTIALS_DIRECTORY`.
    pub connection_string_credential: Option<String>,
    /// The hub, where `token_command` gives access to it.
    pub hub: Option<String>,
    /// Prints an Entra ID token.
    pub token_command: Option<CommandLine>,
    /// Patterns of host names that this profile is for.
    #[serde(default, deserialize_with = "patterns")]
    pub hosts: Vec<String>,
    pub api_version: Option<String>,
    pub connect_timeout: Option<Seconds>,
    pub response_timeout: Option<Seconds>,
    /// How long to try again while the device is offline.
    pub wait: Option<Seconds>,
    /// The most new streams a second; 0 disables the limit.
    pub streams_per_second: Option<u32>,
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL, which may hold a password.
    pub proxy: Option<SecretText>,
    /// Port → the name of the stream it asks for.
    #[serde(default)]
    pub ports: BTreeMap<Port, String>,
    /// ssh's name for a device → the device.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
}

impl Profile {
    /// The stream that a port asks for.
    pub fn stream(&self, port: u16) -> String {
        self.ports.get(&Port(port)).cloned().unwrap_or_else(|| stream_for_port(port))
    }
}

impl<'a> From<&'a Profile> for Keys<'a> {
    fn from(profile: &'a Profile) -> Self {
        Self {
            connection_string: profile.connection_string.as_ref().map(|text| &text.0),
            connection_string_file: profile.connection_string_file.as_deref(),
            connection_string_env: profile.connection_string_env.as_deref(),
            connection_string_command: profile.connection_string_command.as_ref(),
            connection_string_credential: profile.connection_string_credential.as_deref(),
            hub: profile.hub.as_deref(),
            token_command: profile.token_command.as_ref(),
        }
    }
}

/// A port as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(pub u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.parse() {
            Ok(port @ 1..) => Ok(Self(port)),
            _ => Err(D::Error::custom("a port is a number from 1 to 65535")),
        }
    }
}

/// Patterns that mean the same here as in ssh's configuration.
fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let patterns = Vec::<String>::deserialize(deserializer)?;
    match patterns.iter().find(|pattern| !is_pattern(pattern)) {
        None => Ok(patterns),
        Some(wrong) => Err(D::Error::custom(format!("'{wrong}' is not a pattern of host names"))),
    }
}

/// Whether `text` may stand in `hosts` and after ssh's `Host`.
pub fn is_pattern(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "*?._-+:@%=~".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(allowed)
}

/// A device an alias stands for: an id alone, or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    Id(String),
    Table(DeviceTable),
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Device;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device id, or a table with id, module and stream")
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Device, E> {
                Ok(Device::Id(id.to_owned()))
            }

            // Not an untagged enum: its errors know neither the line nor the key.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Device, A::Error> {
                DeviceTable::deserialize(MapAccessDeserializer::new(map)).map(Device::Table)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeviceTable {
    /// Where it is missing, the alias is the id.
    pub id: Option<String>,
    pub module: Option<String>,
    pub stream: Option<String>,
}

/// The stream a port asks for: 22 asks for `ssh`, any other port N for `tcp-N`.
pub fn stream_for_port(port: u16) -> String {
    if port == 22 { "ssh".into() } else { format!("tcp-{port}") }
}
