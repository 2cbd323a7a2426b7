//! Files that make the agent a service of the system.

use std::path::Path;

use super::extra::SERVICE_FILE;

/// The name of the agent's service.
pub(crate) const SERVICE: &str = "iotstream-agent";

/// The kind of file that makes the agent a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceFile {
    /// A unit of systemd.
    Unit,
    /// A property list of launchd.
    PropertyList,
    /// A batch file with the commands that create a service of Windows.
    Batch,
}

impl ServiceFile {
    /// The kind of this system.
    pub const HERE: Self = SERVICE_FILE;

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "iotstream-agent.service",
            Self::PropertyList => "iotstream-agent.plist",
            Self::Batch => "iotstream-agent.cmd",
        }
    }

    /// The directory of the administrator's service files.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Unit => "/etc/systemd/system",
            Self::PropertyList => "/Library/LaunchDaemons",
            Self::Batch => r"C:\ProgramData\iotstream",
        }
    }

    /// The commands that run the service now and at each start of the system, one a line.
    pub fn start(self, file: &Path) -> String {
        match self {
            Self::Unit => format!("systemctl daemon-reload\nsystemctl enable --now {}\n", self.name()),
            Self::PropertyList => format!("launchctl bootstrap system '{}'\n", file.display()),
            Self::Batch => format!("\"{}\"\n", file.display()),
        }
    }
}
