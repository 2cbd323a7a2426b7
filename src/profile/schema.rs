//! The keys of a profile file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::{CommandLine, Keys, Preamble, Seconds, SecretText, has_password};
use crate::text::hub_id;
use crate::text::public_key::PublicKey;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) profile: BTreeMap<String, Profile>,
}

impl Document {
    /// Whether the file contains a secret.
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
    /// The hub of `token_command`'s tokens.
    pub hub: Option<String>,
    /// The namespace of `token_command`'s tokens: a name, or `HOST[:PORT]`.
    pub relay: Option<String>,
    /// The resource id of an Arc machine, with `{device}` in it.
    pub arc: Option<String>,
    /// Prints an Entra ID token.
    pub token_command: Option<CommandLine>,
    /// Prints an Entra ID token for Azure Resource Manager, where `token_command` prints another.
    pub arm_token_command: Option<CommandLine>,
    /// The hybrid connection of a device, with `{device}` in it or shared.
    pub entity: Option<String>,
    /// The resource id of the namespace, whose hybrid connections are the devices.
    pub resource: Option<String>,
    /// Azure Resource Manager in another cloud, as `HOST[:PORT]`.
    pub arm_endpoint: Option<String>,
    /// The suffix of namespaces in another cloud.
    pub relay_suffix: Option<String>,
    /// Whether the stream's name is the last part of the path.
    pub stream_in_path: Option<bool>,
    /// The preamble of another program's listener.
    pub preamble: Option<Preamble>,
    /// Whether the peer can still send after our Close.
    pub half_close: Option<bool>,
    /// Patterns of the host names that use this profile.
    #[serde(default, deserialize_with = "patterns")]
    pub hosts: Vec<String>,
    /// The version of the hub's REST API.
    pub api_version: Option<String>,
    /// The module of a device to ask first, where neither an option nor the device's table names one.
    #[serde(default, deserialize_with = "module")]
    pub module: Option<String>,
    /// How long the hub may take to reach the device.
    pub connect_timeout: Option<Seconds>,
    /// How long the device may take to answer.
    pub response_timeout: Option<Seconds>,
    /// How long to retry while the device is offline.
    pub wait: Option<Seconds>,
    /// The limit of new streams a second; 0 disables it.
    pub streams_per_second: Option<u32>,
    /// Certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL, which may contain a password.
    pub proxy: Option<SecretText>,
    /// Which host keys of a device `iotstream host-keys` tells ssh; `None` is [`HostKeyPolicy::Pin`].
    pub host_keys: Option<HostKeyPolicy>,
    /// The keys of the authority that signs the devices' host keys; several while they are replaced.
    #[serde(default)]
    pub host_ca: HostCa,
    /// Port → stream name.
    #[serde(default)]
    pub ports: BTreeMap<Port, String>,
    /// Alias → device.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
}

impl Profile {
    /// Whether ssh is to be configured with the host keys of the devices.
    pub fn asks_for_host_keys(&self) -> bool {
        match self.host_keys {
            Some(policy) => policy != HostKeyPolicy::Off,
            None => !self.host_ca.0.is_empty(),
        }
    }

    /// The name of the stream that a port asks for.
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
            services: [
                ("hub", profile.hub.as_deref()),
                ("relay", profile.relay.as_deref()),
                ("arc", profile.arc.as_deref()),
            ],
            token_command: profile.token_command.as_ref(),
            is_managed: profile.resource.is_some(),
        }
    }
}

/// Which of the host keys that a device reports `iotstream host-keys` tells ssh.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum HostKeyPolicy {
    /// Those that were reported first, or that the user has accepted since.
    #[default]
    Pin,
    /// All.
    Follow,
    /// None.
    Off,
}

impl fmt::Display for HostKeyPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin => "pin",
            Self::Follow => "follow",
            Self::Off => "off",
        })
    }
}

/// The public keys of an authority that signs host keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCa(Vec<PublicKey>);

impl HostCa {
    /// The keys.
    pub(crate) fn keys(&self) -> &[PublicKey] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for HostCa {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = HostCa;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a public key as \"ssh-ed25519 AAAA…\", or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HostCa, E> {
                Ok(HostCa(vec![key(text)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HostCa, A::Error> {
                let mut keys = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    keys.push(key(&text)?);
                }
                Ok(HostCa(keys))
            }
        }
        fn key<E: serde::de::Error>(text: &str) -> Result<PublicKey, E> {
            PublicKey::parse(text.trim()).ok_or_else(|| {
                E::custom("a public key is expected, as the .pub file has it: ssh-ed25519 AAAA…")
            })
        }
        deserializer.deserialize_any(Form)
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

fn module<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let id = String::deserialize(deserializer)?;
    hub_id::check("module", &id).map_err(D::Error::custom)?;
    Ok(Some(id))
}

/// Reads patterns that have the same meaning in ssh's configuration.
fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let patterns = Vec::<String>::deserialize(deserializer)?;
    match patterns.iter().find(|pattern| !is_pattern(pattern)) {
        None => Ok(patterns),
        Some(wrong) => Err(D::Error::custom(format!("'{wrong}' is not a pattern of host names"))),
    }
}

/// Whether `text` is valid in `hosts` and after ssh's `Host`.
pub fn is_pattern(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "*?._-+:@%=~".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(allowed)
}

/// The device of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A device id.
    Id(String),
    /// A table with more settings.
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

            // An untagged enum would lose the line and key of an error.
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
    /// The device id; `None` means that the alias is the id.
    pub id: Option<String>,
    /// The module id.
    pub module: Option<String>,
    /// The stream name, which overrides the port's.
    pub stream: Option<String>,
}

/// The default stream name of a port: `ssh` for 22, `tcp-N` for any other port N.
pub fn stream_for_port(port: u16) -> String {
    if port == 22 { "ssh".into() } else { format!("tcp-{port}") }
}
