//! The failures of a daemon on this machine.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Exit, Fault, Retry, escape};
use crate::net::Reply;
use crate::platform::process;
use crate::text::duration;
use crate::time::phase::Phase;

/// The longest message in an error, in characters.
const LONGEST: usize = 600;

/// The daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::provisioning) enum Kind {
    /// The IoT Identity Service's daemon for identities.
    Identityd,
    /// The IoT Identity Service's daemon for keys.
    Keyd,
    /// IoT Edge.
    Edged,
}

impl Kind {
    /// The phase of a request to it.
    pub(super) fn phase(self) -> Phase {
        Phase::named(match self {
            Self::Identityd => "aziot-identityd",
            Self::Keyd => "aziot-keyd",
            Self::Edged => "aziot-edged",
        })
    }

    /// The program that looks after it.
    fn tool(self) -> &'static str {
        match self {
            Self::Identityd | Self::Keyd => "aziotctl",
            Self::Edged => "iotedge",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phase().name())
    }
}

/// A failure of a daemon.
#[derive(Debug, thiserror::Error)]
pub(in crate::backend::provisioning) enum Error {
    /// Its socket accepts no connection.
    #[error("{daemon} cannot be reached at {}: {problem}", socket.display())]
    Unreachable {
        daemon: Kind,
        socket: PathBuf,
        #[source]
        problem: io::Error,
    },
    /// It closed each connection without an answer.
    #[error("{daemon} closed {tries} connections in a row without an answer")]
    Closed { daemon: Kind, tries: u32 },
    /// It did not answer.
    #[error("{daemon} did not answer in {}", duration::show(*after))]
    Silent { daemon: Kind, after: Duration },
    /// It answered with an error.
    #[error("{daemon} answered {status}{}", explanation(message))]
    Refused { daemon: Kind, status: u16, message: String },
}

/// The body of an error \[S].
#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    message: String,
}

impl Error {
    /// The error in an answer.
    pub(super) fn refused(daemon: Kind, reply: &Reply) -> Self {
        let Body { message } = serde_json::from_slice(&reply.body).unwrap_or_default();
        // Each cause has a line of its own [S].
        let lines = message.lines().map(|line| line.strip_prefix("caused by: ").unwrap_or(line));
        let message = lines.collect::<Vec<_>>().join(": ").chars().take(LONGEST).collect();
        Self::Refused { daemon, status: reply.status, message }
    }

    /// Whether the daemon may do it later, so that what it said before still holds.
    pub(in crate::backend::provisioning) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Closed { .. } | Self::Silent { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
        }
    }
}

fn explanation(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {}", escape(message)) }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { problem, .. } if problem.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Denied
            }
            Self::Unreachable { .. } => Exit::Unavailable,
            Self::Closed { .. } | Self::Silent { .. } => Exit::Temporary,
            Self::Refused { status, .. } => match status {
                401 | 403 => Exit::Denied,
                400 | 404 => Exit::Unavailable,
                408 | 429 | 500..=599 => Exit::Temporary,
                _ => Exit::Protocol,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        let user = process::user();
        Some(match self {
            Self::Unreachable { daemon: Kind::Edged, .. } => {
                "check that IoT Edge started this container, and that it runs: `iotedge system status`".into()
            }
            Self::Unreachable { problem, .. } => match problem.kind() {
                io::ErrorKind::NotFound => {
                    "install aziot-identity-service, or start it: `aziotctl system restart`".into()
                }
                io::ErrorKind::PermissionDenied => format!(
                    "add the agent's user to the groups of the sockets, and restart the agent: \
                     usermod -aG aziotid,aziotks \"$(id -nu {user})\""
                ),
                _ => "check that it runs: `aziotctl system status`".into(),
            },
            Self::Closed { .. } => {
                format!("a daemon serves 10 requests of user {user} at a time: check what else asks it")
            }
            Self::Refused { daemon: Kind::Identityd, status: 401 | 403, .. } => format!(
                "write [[principal]] with uid = {user}, name = \"iotstream\" and idtype = [\"module\"] to \
                 /etc/aziot/identityd/config.d/iotstream.toml, owned by aziotid, mode 0600; then run: aziotctl system restart"
            ),
            Self::Refused { daemon: Kind::Identityd, status: 400 | 404, .. } => {
                "check that this device is provisioned: `aziotctl check`".into()
            }
            Self::Refused { daemon: Kind::Edged, status: 400..=499, .. } => {
                "check that the agent runs in the container of its own module".into()
            }
            Self::Silent { daemon, .. } | Self::Refused { daemon, .. } => {
                format!("see its log: `{} system logs`", daemon.tool())
            }
        })
    }

    fn retry(&self) -> Option<Retry> {
        None
    }

    fn retry_after(&self) -> Option<Duration> {
        None
    }

    fn phase(&self) -> Phase {
        let (Self::Unreachable { daemon, .. }
        | Self::Closed { daemon, .. }
        | Self::Silent { daemon, .. }
        | Self::Refused { daemon, .. }) = self;
        daemon.phase()
    }

    fn is_rejection(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
