//! The keys of an agent's configuration file.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::agent::target::{Builtin, Server};
use crate::backend::Transport;
use crate::config::{CommandLine, Preamble, Seconds, SecretText, has_password};
use crate::text::ports::Ports;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) connection_string: Option<SecretText>,
    pub(crate) connection_string_file: Option<PathBuf>,
    pub(crate) connection_string_env: Option<String>,
    pub(crate) connection_string_command: Option<CommandLine>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) private_key: Option<PathBuf>,
    /// The service on this machine that has the identity.
    pub(crate) identity: Option<IdentityProvider>,
    /// The directory of the identity service's sockets.
    pub(crate) aziot_sockets: Option<PathBuf>,
    pub(crate) provisioning: Option<ProvisioningTable>,
    pub(crate) transport: Option<Transport>,
    /// The port of MQTT over TLS, by default 8883.
    pub(crate) mqtt_port: Option<u16>,
    /// The silence after which the connection to the service is pinged.
    pub(crate) keepalive: Option<Seconds>,
    /// The silence after which a stream's peer is pinged. The stream is dropped after twice as long; 0 disables both.
    pub(crate) stream_keepalive: Option<Seconds>,
    /// The life of the agent's tokens, which are renewed before their end.
    pub(crate) token_life: Option<Seconds>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) proxy: Option<SecretText>,
    pub(crate) max_sessions: Option<usize>,
    pub(crate) idle_timeout: Option<Seconds>,
    pub(crate) max_duration: Option<Seconds>,
    /// Bytes a second of all streams together, in both directions.
    pub(crate) bandwidth: Option<NonZeroU64>,
    /// Bytes a day (UTC) of all streams together, in both directions.
    pub(crate) daily_bytes: Option<u64>,
    pub(crate) approve_timeout: Option<Seconds>,
    pub(crate) stop_timeout: Option<Seconds>,
    pub(crate) restart_timeout: Option<Seconds>,
    pub(crate) audit_log: Option<PathBuf>,
    /// The path of the control socket.
    pub(crate) control: Option<PathBuf>,
    /// Where the figures are read: an address, a socket or a file.
    pub(crate) metrics: Option<String>,
    /// The agent's own name at Azure Relay.
    pub(crate) device: Option<String>,
    /// Other devices share the hybrid connection.
    pub(crate) shared: Option<bool>,
    /// Patterns of further hosts of gateways.
    pub(crate) rendezvous_hosts: Option<Vec<String>>,
    pub(crate) relay: Option<RelayTable>,
    /// The streams whose targets are asked for their host keys.
    pub(crate) host_keys: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) target: Vec<Spanned<TargetEntry>>,
}

impl Document {
    /// Whether the file contains a secret, such as a password in the proxy's URL.
    pub(crate) fn holds_secret(&self) -> bool {
        self.holds_credential() || self.proxy.as_ref().is_some_and(|url| has_password(url.0.expose()))
    }

    /// Whether the file itself contains a credential.
    pub(crate) fn holds_credential(&self) -> bool {
        self.connection_string.is_some()
            || self.relay.as_ref().is_some_and(|relay| relay.connection_string.is_some())
            || self.provisioning.as_ref().is_some_and(|table| table.key.is_some())
    }
}

/// A service on this machine that has the device's identity.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdentityProvider {
    /// The IoT Identity Service.
    Aziot,
}

/// A Device Provisioning Service, which assigns the device to a hub.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ProvisioningTable {
    pub(crate) id_scope: String,
    pub(crate) registration_id: Option<String>,
    /// The service, as `HOST[:PORT]`.
    pub(crate) endpoint: Option<String>,
    pub(crate) key: Option<SecretText>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) key_env: Option<String>,
    pub(crate) key_command: Option<CommandLine>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) private_key: Option<PathBuf>,
}

/// Azure Relay: a credential beside the hub's, or settings for the credential at the top level.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RelayTable {
    pub(crate) connection_string: Option<SecretText>,
    pub(crate) connection_string_file: Option<PathBuf>,
    pub(crate) connection_string_env: Option<String>,
    pub(crate) connection_string_command: Option<CommandLine>,
    /// The namespace of `token_command`'s tokens.
    pub(crate) relay: Option<String>,
    /// Prints an Entra ID token.
    pub(crate) token_command: Option<CommandLine>,
    /// The suffix of a namespace's host name.
    pub(crate) relay_suffix: Option<String>,
    /// The path of the hybrid connection.
    pub(crate) entity: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) shared: Option<bool>,
    pub(crate) rendezvous_hosts: Option<Vec<String>>,
    pub(crate) preamble: Option<Preamble>,
}

impl RelayTable {
    /// Whether it has a credential of its own.
    pub(crate) fn has_credential(&self) -> bool {
        self.connection_string.is_some()
            || self.connection_string_file.is_some()
            || self.connection_string_env.is_some()
            || self.connection_string_command.is_some()
            || self.token_command.is_some()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TargetEntry {
    pub(crate) stream: String,
    /// The ports that the streams' names must stand for.
    pub(crate) ports: Option<Ports>,
    pub(crate) connect: Option<Connect>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) builtin: Option<Builtin>,
    #[serde(default)]
    pub(crate) approve: ApproveEntry,
    pub(crate) max_sessions: Option<usize>,
    /// Environment variables of the agent that its commands inherit.
    #[serde(default)]
    pub(crate) pass_environment: Vec<String>,
}

/// One server, or several that are tried in turn.
pub(crate) struct Connect(pub(crate) Vec<Server>);

impl<'de> Deserialize<'de> for Connect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Connect;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("connect to be \"host:port\", the path of a Unix socket, or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Connect, E> {
                Server::deserialize(text.into_deserializer()).map(|server| Connect(vec![server]))
            }

            // An untagged enum would lose the line of an error.
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Connect, A::Error> {
                let servers = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                if servers.is_empty() {
                    Err(A::Error::custom("connect: the list is empty"))
                } else {
                    Ok(Connect(servers))
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "approve is \"always\", \"never\", \"ask\", { ask = true, for = \"2h\" } or { command = [\"program\", …] }"
)]
pub(crate) enum ApproveEntry {
    Word(ApproveWord),
    Table(ApproveTable),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ApproveWord {
    Always,
    Never,
    Ask,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ApproveTable {
    #[serde(default)]
    pub(crate) ask: bool,
    pub(crate) command: Option<Vec<String>>,
    /// How long an approval lets in later streams of the same name.
    pub(crate) r#for: Option<Seconds>,
}

impl Default for ApproveEntry {
    fn default() -> Self {
        Self::Word(ApproveWord::Always)
    }
}
