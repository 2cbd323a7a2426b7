//! Every failure a user can meet: what they are told, what they can do, and the exit status, in one place.

mod exit;
mod exposure;
mod fault;
mod hint;
mod problem;
mod report;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::text::duration;
use crate::time::phase::Phase;

pub use exit::Exit;
pub use exposure::{Account, Exposure, Grant, Grants, How, quoted};
pub use fault::Fault;
pub(crate) use hint::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT};
pub use problem::Problem;
pub use report::escape;

pub type Result<T> = std::result::Result<T, Error>;

/// Any failure of this program. `Display` is the message; [`Error::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is invalid.
    #[error("{problem}")]
    Usage { problem: String, hint: Option<String> },
    /// A file of the user's is invalid or cannot be read.
    #[error("{}: {problem}", at(path, *line))]
    File {
        path: PathBuf,
        line: Option<usize>,
        #[source]
        problem: Problem,
        hint: Option<String>,
    },
    /// Other users can read or change a file.
    #[error("{0}")]
    Permissions(Exposure),
    #[error("there is no profile file at {path}")]
    NoProfile { path: PathBuf },
    /// No profile has this name; an empty name is that of the default profile.
    #[error("{}", no_profile(name))]
    UnknownProfile { name: String, path: PathBuf, known: Vec<String> },
    /// A credential cannot be used. `origin` is where it comes from.
    #[error("credential from {origin}: {problem}")]
    Credential {
        origin: String,
        #[source]
        problem: Problem,
        hint: Option<String>,
    },
    /// ssh turned a numeric name into an IPv4 address.
    #[error("ssh rewrote a numeric name as the address {name}, and the device's id is lost")]
    RewrittenName { name: String },
    #[error("'{name}' matches {}, which differ only in case", candidates.join(", "))]
    AmbiguousName { name: String, candidates: Vec<String> },
    #[error("'{name}' is not a valid name: {problem}")]
    BadName { name: String, problem: String },

    /// A backend's own failure.
    #[error(transparent)]
    Backend(Box<dyn Fault>),
    /// The service does not keep what a device's agent reports, such as its host keys.
    #[error("{service} keeps no reports of devices, and so knows no host keys")]
    NoReports { service: String },
    /// A device has reported no host keys, or none for `stream`.
    #[error("{device} reports no host keys{}", stream.as_ref().map_or_else(String::new, |stream| format!(" for the stream '{stream}'")))]
    NoHostKeys { device: String, stream: Option<String> },
    /// A device rejected a stream for measuring, which needs the agent's `builtin` at its other end.
    #[error("{rejection}")]
    NotOffered {
        #[source]
        rejection: Box<dyn Fault>,
        stream: String,
        builtin: &'static str,
    },

    /// The network failed in a phase of the set-up.
    #[error("{phase}: {target}: {problem}")]
    Network {
        phase: Phase,
        target: String,
        #[source]
        problem: Problem,
    },
    #[error("{phase}: no answer from {target} in {}", duration::show(*after))]
    Timeout { phase: Phase, target: String, after: Duration },
    #[error("tls: the certificate of {target} is not trusted: {problem}")]
    Untrusted {
        target: String,
        #[source]
        problem: Problem,
        hint: Option<String>,
    },
    /// A proxy requires a login, or forbids the connection.
    #[error("proxy: {proxy}: {problem}")]
    ProxyDenied { proxy: String, problem: String, hint: Option<String> },
    /// A proxy says when to try again.
    #[error("proxy: {proxy} refused the connection with {status}")]
    ProxyBusy { proxy: String, status: u16, after: Duration },
    /// The other side broke its protocol.
    #[error("{target} broke the protocol: {problem}")]
    Protocol {
        target: String,
        #[source]
        problem: Problem,
    },
    /// A target on the device.
    #[error("target {target}: {problem}")]
    Target {
        target: String,
        #[source]
        problem: Problem,
    },
    /// No agent answers at its control socket.
    #[error("no agent answers at {}: {problem}", path.display())]
    NoAgent {
        path: PathBuf,
        #[source]
        problem: Problem,
    },
    /// The control socket is another user's.
    #[error("{}: only root and the agent's user may use the control socket", path.display())]
    ControlDenied { path: PathBuf },
    /// The agent does not do what it is asked.
    #[error("{problem}")]
    AgentRefused { problem: String, hint: Option<String> },
    /// A signal ended a stream early.
    #[error("{signal} ended the stream early")]
    Signalled { signal: &'static str },
    /// The other side closed a stream and gave a reason.
    #[error("the other side ended the stream: {}", escape(reason))]
    Ended { reason: String },
    /// The device accepted a stream and ended it before it sent anything.
    #[error("the device accepted the stream and ended it before the first byte")]
    EndedUnused { stream: String },
    /// An open stream ended without a close.
    #[error("the stream was cut: {problem}")]
    Cut {
        #[source]
        problem: Problem,
    },
    /// The other side or the gateway answered the Close of a stream with a copy of it.
    #[error(
        "the stream was cut: our own Close came back: the other side or the gateway answers a Close at once, and loses \
         what it has not sent yet"
    )]
    ThrownBack,
    /// Nothing was received for too long.
    #[error("the stream is dead: nothing was received for {}", duration::show(*after))]
    Silent { after: Duration },

    #[error("{what}: {source}")]
    LocalIo { what: String, source: io::Error },
    /// A program that this command runs is not installed.
    #[error("{program} is not installed")]
    MissingProgram { program: String, package: &'static str },
    #[error("this is a bug: {0}")]
    Bug(String),
    #[error("{0:#}")]
    Other(#[source] anyhow::Error),
}

fn at(path: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}

fn no_profile(name: &str) -> String {
    match name {
        "" => "no profile's hosts match this name, and there is no default profile".into(),
        name => format!("there is no profile named '{name}'"),
    }
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
    /// The command line is invalid, and `hint` says what to write.
    pub fn usage(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into(), hint: Some(hint.into()) }
    }

    /// A file as a whole is invalid or cannot be read, and `hint` says what to do.
    pub fn file(path: &Path, problem: impl Into<Problem>, hint: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), line: None, problem: problem.into(), hint: Some(hint.into()) }
    }

    /// The credential from `origin` cannot be used, and `hint` says what to do.
    pub fn credential(
        origin: impl Into<String>,
        problem: impl Into<Problem>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Credential { origin: origin.into(), problem: problem.into(), hint: Some(hint.into()) }
    }

    /// The network failed in a phase of the set-up.
    pub fn network(phase: Phase, target: impl Display, problem: impl Into<Problem>) -> Self {
        Self::Network { phase, target: target.to_string(), problem: problem.into() }
    }

    /// There was no answer in a phase of the set-up.
    pub fn timeout(phase: Phase, target: impl Display, after: Duration) -> Self {
        Self::Timeout { phase, target: target.to_string(), after }
    }

    /// The other side broke its protocol.
    pub fn protocol(target: impl Display, problem: impl Into<Problem>) -> Self {
        Self::Protocol { target: target.to_string(), problem: problem.into() }
    }

    /// Reading or writing `what` failed on this machine.
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

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(Error::Other)
    }
}

#[cfg(test)]
pub(crate) mod snapshot;
