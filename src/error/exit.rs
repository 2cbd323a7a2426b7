//! The exit statuses.

use std::process::ExitCode;

use super::Error;

/// An exit status, from sysexits.h where it has one.
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

impl Exit {
    /// The number that the process exits with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl Error {
    /// The exit status of a command that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Usage { .. } | Error::RewrittenName { .. } => Exit::Usage,
            Error::File { .. }
            | Error::Permissions(_)
            | Error::NoProfile { .. }
            | Error::UnknownProfile { .. }
            | Error::Credential { .. }
            | Error::AmbiguousName { .. }
            | Error::BadName { .. }
            | Error::NoReports { .. } => Exit::Config,
            Error::Backend(fault) | Error::NotOffered { rejection: fault, .. } => fault.exit(),
            Error::Target { .. } | Error::NoHostKeys { .. } | Error::NoAgent { .. } => Exit::Unavailable,
            Error::Network { .. }
            | Error::Timeout { .. }
            | Error::ProxyBusy { .. }
            | Error::Signalled { .. }
            | Error::Ended { .. }
            | Error::EndedUnused { .. }
            | Error::Cut { .. }
            | Error::ThrownBack
            | Error::Silent { .. } => Exit::Temporary,
            Error::Untrusted { .. } | Error::ProxyDenied { .. } | Error::ControlDenied { .. } => Exit::Denied,
            Error::Protocol { .. } => Exit::Protocol,
            Error::LocalIo { .. } => Exit::LocalIo,
            Error::MissingProgram { .. } | Error::AgentRefused { .. } | Error::Other(_) => Exit::Other,
            Error::Bug(_) => Exit::Bug,
        }
    }
}
