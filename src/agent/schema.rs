//! What an agent's configuration file may say.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::Deserialize;

use super::builtin::Builtin;
use crate::profile::{CommandLine, Seconds, SecretText, has_password};

/// How the agent talks MQTT.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Over a WebSocket on 443, which company networks let out.
    #[default]
    WebSocket,
    /// Over TLS on 8883.
    Mqtt,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) connection_string: Option<SecretText>,
    pub(super) connection_string_file: Option<PathBuf>,
    pub(super) connection_string_env: Option<String>,
    pub(super) connection_string_command: Option<CommandLine>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) private_key: Option<PathBuf>,
    #[serde(default)]
    pub(super) transport: Transport,
    /// Where MQTT over TLS is, if not on 8883.
    pub(super) mqtt_port: Option<u16>,
    /// How long the hub may be silent before it is pinged.
    pub(super) keepalive: Option<Seconds>,
    /// Silence of a stream's peer after which it is pinged; after twice as long it is dead. 0: never.
    pub(super) stream_keepalive: Option<Seconds>,
    /// How long a token of the agent's is good; it is renewed before.
    pub(super) token_life: Option<Seconds>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) proxy: Option<SecretText>,
    pub(super) max_sessions: Option<usize>,
    pub(super) idle_timeout: Option<Seconds>,
    pub(super) max_duration: Option<Seconds>,
    /// Bytes a second, both ways and all streams together.
    pub(super) bandwidth: Option<NonZeroU64>,
    /// Bytes a day (UTC), both ways and all streams together.
    pub(super) daily_bytes: Option<u64>,
    pub(super) approve_timeout: Option<Seconds>,
    pub(super) stop_timeout: Option<Seconds>,
    pub(super) audit_log: Option<PathBuf>,
    #[serde(default)]
    pub(super) target: Vec<TargetEntry>,
}

impl Document {
    /// Whether the file itself is to be kept from others: a proxy's URL may hold a password.
    pub(super) fn holds_secret(&self) -> bool {
        self.connection_string.is_some()
            || self.proxy.as_ref().is_some_and(|url| has_password(url.0.expose()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TargetEntry {
    pub(super) stream: String,
    pub(super) connect: Option<String>,
    pub(super) command: Option<Vec<String>>,
    pub(super) builtin: Option<Builtin>,
    #[serde(default)]
    pub(super) approve: ApproveEntry,
    pub(super) max_sessions: Option<usize>,
    /// Variables that its commands find in their environment.
    #[serde(default)]
    pub(super) pass_environment: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "approve is \"always\", \"never\", \"ask\" or { command = [\"program\", …] }")]
pub(super) enum ApproveEntry {
    Word(ApproveWord),
    Command(ApproveCommand),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ApproveWord {
    Always,
    Never,
    Ask,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ApproveCommand {
    pub(super) command: Vec<String>,
}

impl Default for ApproveEntry {
    fn default() -> Self {
        Self::Word(ApproveWord::Always)
    }
}
