//! What a device's agent reports to its service, and what the service tells of it.

use crate::text::pattern;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// The device, or `DEVICE/MODULE`.
    pub(crate) device: String,
    /// The agent's version; `None` if no agent has reported.
    pub(crate) agent: Option<String>,
    /// The streams, in the order of the agent's configuration.
    pub(crate) streams: Vec<ReportedStream>,
}

impl Reported {
    /// The stream that the agent serves under this name: that of the name itself, else the first whose pattern matches.
    pub(crate) fn stream(&self, name: &str) -> Option<&ReportedStream> {
        let exact = self.streams.iter().find(|stream| stream.name == name);
        exact.or_else(|| self.streams.iter().find(|stream| pattern::matches(&stream.name, name)))
    }
}

/// A stream in a [`Reported`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportedStream {
    /// Its name, or the pattern of its names.
    pub(crate) name: String,
    /// The host keys of its target.
    pub(crate) keys: Vec<ReportedKey>,
}

/// A host key in a [`Reported`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportedKey {
    /// The key.
    pub(crate) key: PublicKey,
    /// When it was reported, in the service's format, if the service tells.
    pub(crate) since: Option<String>,
}

/// Which answer of [`super::Dialer::reported`] is good enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// One with host keys for the dialer's stream, of any age.
    Keys,
    /// One with this key for the dialer's stream, of any age.
    Key(&'a PublicKey),
    /// What the service says now.
    Now,
}
