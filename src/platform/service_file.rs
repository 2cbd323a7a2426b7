//! Files that tell a system's service manager to run the agent.

use std::path::Path;

use super::extra::SERVICE_FILE;

/// The kind of file that a service manager reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceFile {
    /// A unit of systemd.
    Unit,
    /// A property list of launchd.
    PropertyList,
}

impl ServiceFile {
    /// The kind of this system.
    pub const HERE: Self = SERVICE_FILE;

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "iotstream-agent.service",
            Self::PropertyList => "iotstream-agent.plist",
        }
    }

    /// The directory of the administrator's service files.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Unit => "/etc/systemd/system",
            Self::PropertyList => "/Library/LaunchDaemons",
        }
    }

    /// The commands that run the service now and at each start of the system, one a line.
    pub fn start(self, file: &Path) -> String {
        match self {
            Self::Unit => format!("systemctl daemon-reload\nsystemctl enable --now {}\n", self.name()),
            Self::PropertyList => format!("launchctl bootstrap system '{}'\n", file.display()),
        }
    }
}
