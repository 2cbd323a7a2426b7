//! Every failure a user can meet: what they are told, what they can do, and the exit status, in one place.

mod exit;
mod exposure;
mod fault;
mod hint;
mod report;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::text::duration;
use crate::time::phase::Phase;

pub use exit::Exit;
pub use exposure::{Exposure, How, quoted};
pub use fault::Fault;
pub(crate) use hint::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT};
pub use report::escape;

pub type Result<T> = std::result::Result<T, Error>;

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

    /// A backend's own failure.
    Backend(Box<dyn Fault>),
    /// A device rejected a stream for measuring, which needs the agent's `builtin` at its other end.
    NotOffered {
        rejection: Box<dyn Fault>,
        stream: String,
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
    /// A proxy says when to try again.
    ProxyBusy {
        proxy: String,
        status: u16,
        after: Duration,
    },
    /// The other side broke its protocol.
    Protocol {
        target: String,
        problem: String,
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

impl Error {
    pub fn local_io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::LocalIo { what, source }
    }

    /// Whether a later try may succeed, for a user who is ready to wait.
    pub fn retry(&self) -> Option<Retry> {
        match self {
            Error::Backend(fault) => fault.retry(),
            Error::ProxyBusy { status, after, .. } => {
                Some(Retry { is_throttled: *status == 429, after: Some(*after) })
            }
            _ => None,
        }
    }

    /// The server's own word on when to try again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Backend(fault) => fault.retry_after(),
            Error::ProxyBusy { after, .. } => Some(*after),
            _ => None,
        }
    }

    /// The phase of the set-up that failed; `None` where it was not the set-up that failed.
    pub fn phase(&self) -> Option<Phase> {
        Some(match self {
            Error::Network { phase, .. } | Error::Timeout { phase, .. } => *phase,
            Error::ProxyDenied { .. } | Error::ProxyBusy { .. } => Phase::PROXY,
            Error::Untrusted { .. } => Phase::TLS,
            Error::Backend(fault) | Error::NotOffered { rejection: fault, .. } => fault.phase(),
            _ => return None,
        })
    }

    /// The error of a backend, for that backend.
    pub fn fault<T: Fault>(&self) -> Option<&T> {
        match self {
            Error::Backend(fault) => fault.downcast_ref(),
            _ => None,
        }
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
            Error::Backend(fault) | Error::NotOffered { rejection: fault, .. } => fault.fmt(f),
            Error::Network { phase, target, problem } => write!(f, "{phase}: {target}: {problem}"),
            Error::Timeout { phase, target, after } => {
                write!(f, "{phase}: no answer from {target} in {}", duration::show(*after))
            }
            Error::Untrusted { target, problem, .. } => {
                write!(f, "tls: the certificate of {target} is not trusted: {problem}")
            }
            Error::ProxyDenied { proxy, problem } => write!(f, "proxy: {proxy}: {problem}"),
            Error::ProxyBusy { proxy, status, .. } => {
                write!(f, "proxy: {proxy} refused the connection with {status}")
            }
            Error::Protocol { target, problem } => write!(f, "{target} broke the protocol: {problem}"),
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

#[cfg(test)]
pub(crate) mod snapshot;
