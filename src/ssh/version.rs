//! The version of the user's ssh.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long to wait for `ssh -V`.
const LIMIT: Duration = Duration::from_secs(5);

/// A version of OpenSSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The first version with `KnownHostsCommand`.
    pub(crate) const KNOWN_HOSTS_COMMAND: Self = Self { major: 8, minor: 5 };

    /// The version of the ssh in PATH.
    ///
    /// # Errors
    /// Returns why it is not known.
    pub(crate) async fn installed() -> Result<Self, String> {
        let mut command = Command::new("ssh");
        command.arg("-V").stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(LIMIT, command.output()).await.map_err(|_| "`ssh -V` does not end")?;
        let output = output.map_err(|error| format!("`ssh -V` does not run: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        Self::parse(&said).ok_or_else(|| "`ssh -V` names no version of OpenSSH".into())
    }

    /// Parses what `ssh -V` prints: `OpenSSH_9.2p1 …`, or `OpenSSH_for_Windows_8.6p1, …`.
    fn parse(said: &str) -> Option<Self> {
        let version = said.trim_start().strip_prefix("OpenSSH_")?;
        let version = version.strip_prefix("for_Windows_").unwrap_or(version);
        let (major, rest) = version.split_once('.')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { major: major.parse().ok()?, minor: rest[..end].parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenSSH {}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ssh_prints() {
        for (said, is_enough) in [
            ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n", Some(true)),
            ("OpenSSH_for_Windows_8.6p1, LibreSSL 3.4.3\r\n", Some(true)),
            ("OpenSSH_for_Windows_8.1p1, LibreSSL 3.0.2", Some(false)),
            ("OpenSSH_8.5p1, OpenSSL", Some(true)),
            ("OpenSSH_8.4p1 Debian", Some(false)),
            ("OpenSSH_10.0", Some(true)),
            ("OpenSSH_7.9p1", Some(false)),
            ("Dropbear v2022.83", None),
            ("OpenSSH_x.y", None),
            ("", None),
        ] {
            let version = Version::parse(said);
            assert_eq!(version.map(|version| version >= Version::KNOWN_HOSTS_COMMAND), is_enough, "{said}");
        }
    }
}
