//! What a device's agent reports to its service, and what the service tells of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::pattern;
use crate::text::ports::Ports;
use crate::text::public_key::PublicKey;

/// What an agent reports: the streams that it serves, in the order of its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The streams.
    pub(crate) streams: Vec<StreamReport>,
}

/// A stream in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamReport {
    /// Its name, or the pattern of its names.
    pub(crate) name: String,
    /// The ports that its names must stand for.
    pub(crate) ports: Option<Ports>,
    /// The host keys of its target.
    pub(crate) keys: HostKeys,
}

/// The host keys of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostKeys {
    /// The target has not told them yet: what was last reported for the stream stays.
    Untold,
    /// All of them; none for a target that has none, or that is not to be asked.
    Known(Vec<PublicKey>),
}

/// What a service tells of a device's report.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// The device, or `DEVICE/MODULE`.
    pub(crate) device: String,
    /// The agent's version; `None` if no agent has reported.
    pub(crate) agent: Option<String>,
    /// The streams, in the order of the agent's configuration.
    pub(crate) streams: Vec<ReportedStream>,
}

impl Reported {
    /// The stream that the agent serves under `name`: the first that matches, as the agent chooses its target.
    pub(crate) fn stream(&self, name: &str) -> Option<&ReportedStream> {
        self.streams.iter().find(|stream| {
            pattern::matches(&stream.name, name)
                && stream.ports.as_ref().is_none_or(|ports| ports.include(name))
        })
    }

    /// Whether no agent has reported.
    pub(crate) fn is_empty(&self) -> bool {
        self.agent.is_none() && self.streams.is_empty()
    }

    /// Whether any stream has host keys.
    pub(crate) fn has_keys(&self) -> bool {
        self.streams.iter().any(|stream| !stream.keys.is_empty())
    }
}

/// A stream in a [`Reported`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ReportedStream {
    /// Its name, or the pattern of its names.
    pub(crate) name: String,
    /// The ports that its names must stand for.
    #[serde(default)]
    pub(crate) ports: Option<Ports>,
    /// The host keys of its target.
    pub(crate) keys: Vec<ReportedKey>,
}

impl fmt::Display for ReportedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.ports.as_ref().map_or(Ok(()), |ports| write!(f, " (ports {ports})"))
    }
}

/// A host key in a [`Reported`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ReportedKey {
    /// The key.
    #[serde(with = "as_text")]
    pub(crate) key: PublicKey,
    /// When it was reported, in the service's format, if the service tells.
    pub(crate) since: Option<String>,
}

/// Which answer of [`super::Dialer::reported`] is good enough.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// One with host keys for the dialer's stream, of any age.
    Keys,
    /// One with this key for the dialer's stream, of any age, else what the service says now.
    Key(&'a PublicKey),
    /// What the service says now.
    Now,
}

/// A key as `TYPE BASE64`.
mod as_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::text::public_key::PublicKey;

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::parse(&text).ok_or_else(|| D::Error::custom("it is no public key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stream_that_matches_applies() {
        let stream = |name: &str| ReportedStream { name: name.into(), ports: None, keys: Vec::new() };
        let streams = ["ssh", "tcp-*", "tcp-80", "*", "web"].map(stream).into();
        let reported = Reported { device: "gw-07".into(), agent: None, streams };
        let found = |name| reported.stream(name).map(|stream| stream.name.as_str());
        for (name, applies) in [("ssh", "ssh"), ("tcp-80", "tcp-*"), ("tcp-81", "tcp-*"), ("web", "*")] {
            assert_eq!(found(name), Some(applies), "{name}");
        }
        let of_ports = ReportedStream { ports: Ports::parse("80, 8000-8999"), ..stream("tcp-*") };
        assert_eq!(of_ports.to_string(), "tcp-* (ports 80, 8000-8999)");
        let reported = Reported { streams: vec![of_ports, stream("tcp-8*")], ..reported };
        let found = |name| reported.stream(name).map(|stream| stream.name.as_str());
        assert_eq!(["tcp-80", "tcp-81", "tcp-22"].map(found), [Some("tcp-*"), Some("tcp-8*"), None]);
        let reported = Reported { streams: vec![stream("ssh")], ..reported };
        assert_eq!(reported.stream("SSH"), None);
    }
}
