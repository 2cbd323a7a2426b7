//! Every failure a user can meet: what they are told, what they can do, and the exit status, in one place.

mod fault;
mod hint;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::backend::iothub::proto::{Code, HubFailure, Identity, Refusal};
use crate::platform::private_file::Exposure;
use crate::text::duration;
use crate::time::phase::Phase;

pub use fault::Fault;

pub type Result<T> = std::result::Result<T, Error>;

/// The exit status: after sysexits.h where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Other = 1,
    Usage = 2,
    /// The device is offline, rejects, or the hub throttles.
    Unavailable = 69,
    Bug = 70,
    /// Local I/O.
    LocalIo = 74,
    /// A time limit, the network, or a stream that was cut: trying again may help.
    Temporary = 75,
    Protocol = 76,
    Denied = 77,
    /// The profile, the agent's configuration or a credential.
    Config = 78,
}

/// Who must act, and on what. `Display` is the message; [`Error::hint`] says what to try next.
#[derive(Debug)]
pub enum Error {
    /// The command line.
    Usage {
        problem: String,
        hint: String,
    },
    /// A file of the user's is not as it should be.
    File {
        path: PathBuf,
        line: Option<usize>,
        problem: String,
        hint: String,
    },
    /// A file that other users have a hand in.
    Permissions(Exposure),
    NoProfile {
        path: PathBuf,
    },
    UnknownProfile {
        name: String,
        path: PathBuf,
        known: Vec<String>,
    },
    /// Where a credential comes from, and why it is of no use.
    Credential {
        source: String,
        problem: String,
        hint: String,
    },
    /// ssh turned a numeric name into an IPv4 address.
    RewrittenName {
        name: String,
    },
    AmbiguousName {
        name: String,
        candidates: Vec<String>,
    },
    BadName {
        name: String,
        problem: String,
    },

    /// The hub answered with an error. `skew` is how far the local clock is from the hub's, where that is far.
    Hub {
        hub: String,
        identity: Identity,
        failure: Box<HubFailure>,
        skew: Option<Skew>,
    },
    /// The hub does not list its devices.
    Listing {
        hub: String,
        failure: Box<HubFailure>,
    },
    Rejected {
        identity: Identity,
        stream: String,
        hub: String,
    },
    /// The same of a stream for measuring, behind which one of the agent's own services is to be.
    NotOffered {
        identity: Identity,
        stream: String,
        hub: String,
        builtin: &'static str,
    },

    /// The network, in a phase of the set-up.
    Network {
        phase: Phase,
        target: String,
        problem: String,
    },
    Timeout {
        phase: Phase,
        target: String,
        after: Duration,
    },
    Untrusted {
        target: String,
        problem: String,
        hint: String,
    },
    /// A proxy wants a login, or does not let this pass.
    ProxyDenied {
        proxy: String,
        problem: String,
    },
    /// The gateway, the hub's MQTT front or a proxy answered another status than the one that begins a connection:
    /// `phase` tells which.
    Upgrade {
        phase: Phase,
        target: String,
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The other side broke its protocol.
    Protocol {
        target: String,
        problem: String,
    },
    /// MQTT's own refusal of a device.
    MqttRefused {
        hub: String,
        identity: Identity,
        refusal: Refusal,
        skew: Option<Skew>,
    },
    /// The local clock, beside the hub's.
    Skewed {
        skew: Skew,
    },
    /// A service or program on the device that streams lead to.
    Target {
        target: String,
        problem: String,
    },
    /// The device accepted a stream and ended it before anything came.
    /// A signal ended a stream before all was said.
    Signalled {
        signal: &'static str,
    },
    /// The other side closed a stream for a reason of its own.
    Ended {
        reason: String,
    },
    EndedUnused {
        stream: String,
    },
    /// A stream that was open ended without a close.
    Cut {
        problem: String,
    },
    /// Nothing was heard for too long.
    Silent {
        after: Duration,
    },

    LocalIo {
        what: String,
        source: io::Error,
    },
    /// A program this command runs is not installed.
    MissingProgram {
        program: String,
        package: &'static str,
    },
    Bug(String),
    Other(anyhow::Error),
}

/// Trying again is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// There are too many streams, and no more is wrong.
    pub is_throttled: bool,
    /// The server's own word on when.
    pub after: Option<Duration>,
}

/// How far the local clock is off, seen from the hub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    Behind(Duration),
    Ahead(Duration),
}

impl Skew {
    /// Clocks that differ by more make the hub refuse tokens [D].
    const LIMIT: Duration = Duration::from_secs(5 * 60);

    /// How far the clock `here` is from the hub's.
    pub fn measured(here: SystemTime, hub: SystemTime) -> Self {
        match here.duration_since(hub) {
            Ok(ahead) => Self::Ahead(ahead),
            Err(behind) => Self::Behind(behind.duration()),
        }
    }

    /// The same, when that is too far.
    pub fn between(here: SystemTime, hub: SystemTime) -> Option<Self> {
        Some(Self::measured(here, hub)).filter(|skew| skew.is_too_far())
    }

    pub fn by(self) -> Duration {
        let (Self::Ahead(by) | Self::Behind(by)) = self;
        by
    }

    pub fn is_too_far(self) -> bool {
        self.by() > Self::LIMIT
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skew::Behind(by) => write!(f, "{} behind", duration::show(Duration::from_secs(by.as_secs()))),
            Skew::Ahead(by) => write!(f, "{} ahead of", duration::show(Duration::from_secs(by.as_secs()))),
        }
    }
}

impl Error {
    pub fn local_io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::LocalIo { what, source }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Error::Usage { .. } | Error::RewrittenName { .. } => Exit::Usage,
            Error::File { .. }
            | Error::Permissions(_)
            | Error::NoProfile { .. }
            | Error::UnknownProfile { .. }
            | Error::Credential { .. }
            | Error::AmbiguousName { .. }
            | Error::BadName { .. } => Exit::Config,
            Error::Hub { failure, .. } | Error::Listing { failure, .. } => {
                match (failure.status, failure.code) {
                    (_, Some(Code::QUOTA_EXCEEDED | Code::NOT_IN_TIER | Code::DEVICE_DISABLED)) => {
                        Exit::Unavailable
                    }
                    (_, Some(Code::HUB_NOT_FOUND)) => Exit::Config,
                    (401 | 403, _) => Exit::Denied,
                    (404 | 429 | 503, _) => Exit::Unavailable,
                    (408 | 500..=599, _) => Exit::Temporary,
                    _ => Exit::Protocol,
                }
            }
            Error::Rejected { .. } | Error::NotOffered { .. } | Error::Target { .. } => Exit::Unavailable,
            Error::Skewed { .. } => Exit::Denied,
            Error::Network { .. }
            | Error::Timeout { .. }
            | Error::Signalled { .. }
            | Error::Ended { .. }
            | Error::EndedUnused { .. }
            | Error::Cut { .. }
            | Error::Silent { .. } => Exit::Temporary,
            Error::MqttRefused { refusal: Refusal::NoMqtt311, .. } => Exit::Protocol,
            Error::MqttRefused { refusal: Refusal::Unavailable | Refusal::NoStreams, .. } => {
                Exit::Unavailable
            }
            Error::Untrusted { .. } | Error::ProxyDenied { .. } | Error::MqttRefused { .. } => Exit::Denied,
            Error::Upgrade { status: 401 | 403, .. } => Exit::Denied,
            Error::Upgrade { status: 404 | 408 | 409 | 429 | 500..=599, .. } => Exit::Temporary,
            Error::Upgrade { .. } | Error::Protocol { .. } => Exit::Protocol,
            Error::LocalIo { .. } => Exit::LocalIo,
            Error::MissingProgram { .. } | Error::Other(_) => Exit::Other,
            Error::Bug(_) => Exit::Bug,
        }
    }

    /// Whether a later try may well succeed, for whoever is ready to wait.
    pub fn retry(&self) -> Option<Retry> {
        let (status, is_offline) = match self {
            Error::Hub { failure, .. } => {
                let code = failure.code;
                (failure.status, matches!(code, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED)))
            }
            Error::Upgrade { status, .. } => (*status, false),
            _ => return None,
        };
        let worth = is_offline || matches!(status, 429 | 503);
        worth.then(|| Retry { is_throttled: status == 429, after: self.retry_after() })
    }

    /// The server's own word on when to try again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Hub { failure, .. } | Error::Listing { failure, .. } => {
                failure.retry_after.map(|seconds| Duration::from_secs(seconds.into()))
            }
            Error::Upgrade { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The two lines on stderr.
    pub fn report(&self) -> String {
        let mut text = format!("iotstream: error: {}\n", escape(&self.to_string()));
        if let Some(hint) = self.hint() {
            text += &format!("iotstream: hint: {}\n", escape(&hint));
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage { problem, .. } => f.write_str(problem),
            Error::File { path, line: Some(line), problem, .. } => {
                write!(f, "{}:{line}: {problem}", path.display())
            }
            Error::File { path, line: None, problem, .. } => write!(f, "{}: {problem}", path.display()),
            Error::Permissions(exposure) => exposure.fmt(f),
            Error::NoProfile { path } => write!(f, "there is no profile file at {}", path.display()),
            Error::UnknownProfile { name, .. } if name.is_empty() => {
                f.write_str("no profile's hosts match this name, and there is no default profile")
            }
            Error::UnknownProfile { name, .. } => write!(f, "there is no profile named '{name}'"),
            Error::Credential { source, problem, .. } => write!(f, "credential from {source}: {problem}"),
            Error::RewrittenName { name } => {
                write!(
                    f,
                    "ssh has rewritten a numeric name into the address {name}, and the device's id is lost"
                )
            }
            Error::AmbiguousName { name, candidates } => {
                write!(f, "'{name}' may be any of {}: they differ only in case", candidates.join(", "))
            }
            Error::BadName { name, problem } => write!(f, "'{name}' cannot be a device's name: {problem}"),
            Error::Hub { hub, identity, failure, .. } => {
                let mut says_status = false;
                match (failure.status, failure.code) {
                    (_, Some(Code::DEVICE_NOT_ONLINE | Code::DEVICE_CLOSED)) => {
                        write!(f, "{identity} is not connected to {hub}")?;
                    }
                    (_, Some(Code::DEVICE_NOT_FOUND | Code::MODULE_NOT_FOUND)) => {
                        write!(f, "{identity} is not registered at {hub}")?;
                    }
                    (_, Some(Code::DEVICE_DISABLED)) => write!(f, "{identity} is disabled at {hub}")?,
                    (_, Some(Code::QUOTA_EXCEEDED)) => write!(f, "the daily quota of {hub} is used up")?,
                    (_, Some(Code::NOT_IN_TIER)) => write!(f, "{hub} has no device streams")?,
                    (_, Some(Code::HUB_NOT_FOUND)) => write!(f, "there is no hub {hub}")?,
                    (401 | 403, _) => write!(f, "{hub} refuses the credential")?,
                    (429, _) => write!(f, "{hub} throttles new streams")?,
                    (hint::CAPTIVE_PORTAL, _) => {
                        return write!(f, "a captive portal answers in place of {hub} (511)");
                    }
                    (504, _) => write!(f, "{identity} did not answer in time through {hub}")?,
                    _ => {
                        says_status = true;
                        write!(f, "{hub} answered {}", failure.status)?;
                        if let Some(message) = &failure.message {
                            write!(f, ": {message}")?;
                        }
                    }
                }
                // A status that has been said is not said again.
                let number = match failure.code {
                    Some(code) => Some(format!("{code:?}")),
                    None => Some(failure.status.to_string()).filter(|_| !says_status),
                };
                let id = failure.tracking_id.as_ref().map(|id| format!("tracking id {id}"));
                match number.into_iter().chain(id).collect::<Vec<_>>().join(", ") {
                    details if details.is_empty() => Ok(()),
                    details => write!(f, " ({details})"),
                }
            }
            Error::Listing { hub, failure } => {
                write!(f, "{hub} does not list its devices: {}", failure.status)?;
                if let Some(message) = &failure.message {
                    write!(f, ", {message}")?;
                }
                match &failure.tracking_id {
                    Some(id) => write!(f, " (tracking id {id})"),
                    None => Ok(()),
                }
            }
            Error::Rejected { identity, stream, hub } | Error::NotOffered { identity, stream, hub, .. } => {
                write!(f, "{identity} rejected the stream '{stream}' through {hub}")
            }
            Error::Network { phase, target, problem } => write!(f, "{phase}: {target}: {problem}"),
            Error::Timeout { phase: Phase::Device, target, after } => {
                write!(f, "device: no answer through {target} in {}", duration::show(*after))
            }
            Error::Timeout { phase, target, after } => {
                write!(f, "{phase}: no answer from {target} in {}", duration::show(*after))
            }
            Error::Untrusted { target, problem, .. } => {
                write!(f, "tls: the certificate of {target} is not trusted: {problem}")
            }
            Error::ProxyDenied { proxy, problem } => write!(f, "proxy: {proxy}: {problem}"),
            Error::Upgrade { phase, target, status, .. } => {
                let what = match phase {
                    Phase::Gateway => "the stream",
                    Phase::Proxy => "the connection",
                    _ => "the agent's WebSocket",
                };
                write!(f, "{phase}: {target} refused {what} with {status}")
            }
            Error::Protocol { target, problem } => write!(f, "{target} broke the protocol: {problem}"),
            Error::MqttRefused { hub, identity, refusal, .. } => {
                write!(f, "{hub} refuses {identity}: {refusal}")
            }
            Error::Skewed { skew } => write!(f, "the clock here is {skew} the hub's"),
            Error::Target { target, problem } => write!(f, "target {target}: {problem}"),
            Error::Signalled { signal } => write!(f, "{signal} ended the stream before its end"),
            Error::Ended { reason } => write!(f, "the other side ended the stream: {}", escape(reason)),
            Error::EndedUnused { .. } => {
                f.write_str("the device accepted the stream and ended it before the first byte")
            }
            Error::Cut { problem } => write!(f, "the stream was cut: {problem}"),
            Error::Silent { after } => {
                write!(f, "the stream is dead: nothing was heard for {}", duration::show(*after))
            }
            Error::LocalIo { what, source } => write!(f, "{what}: {source}"),
            Error::MissingProgram { program, .. } => write!(f, "{program} is not installed"),
            Error::Bug(problem) => write!(f, "this is a bug: {problem}"),
            Error::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(Error::Other)
    }
}

/// Foreign text made safe for a terminal: control characters are shown, not obeyed.
pub fn escape(text: &str) -> String {
    let dangerous = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if dangerous(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod snapshot;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_a_terminal() {
        assert_eq!(escape("a\x1b[2Jb\r\nc\u{202e}ä"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}ä");
    }
}
