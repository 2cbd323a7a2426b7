//! What a user asks for, besides what the profile file says.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::network::network;
use crate::error::Result;
use crate::net::Network;
use crate::profile::{Profile, Profiles, default_path, stream_for_port};

/// The options of a connection. `None` leaves the choice to the profile.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The device's name as ssh has it.
    pub host: String,
    pub port: Option<u16>,
    /// The stream to ask for, whatever the port and the profile say.
    pub stream: Option<String>,
    pub profile: ProfileOptions,
    /// The device's name as the user typed it.
    pub name: Option<String>,
    pub module: Option<String>,
    pub connect_timeout: Option<Duration>,
    pub response_timeout: Option<Duration>,
    /// How long to try again while the device is offline.
    pub wait: Option<Duration>,
    /// The silence after which the peer is pinged; zero disables pings.
    pub keepalive: Option<Duration>,
    /// Whether to print the statistics of the connection at its end.
    pub stats: bool,
}

impl Options {
    /// The stream that is asked for, as far as it is known without the profile.
    pub fn stream_asked(&self) -> String {
        self.stream.clone().unwrap_or_else(|| stream_for_port(self.port.unwrap_or(22)))
    }
}

/// Which profile to use, and how to reach its service.
#[derive(Clone, Debug, Default)]
pub struct ProfileOptions {
    /// The profile's name.
    pub name: Option<String>,
    /// The profile file.
    pub file: Option<PathBuf>,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL.
    pub proxy: Option<String>,
}

impl ProfileOptions {
    /// Reads the profile file.
    ///
    /// # Errors
    /// Those of [`Profiles::read`].
    pub fn read(&self) -> Result<Profiles> {
        Profiles::read(&self.file.clone().unwrap_or_else(default_path))
    }

    /// The network on which the service of `profile` is reached.
    ///
    /// # Errors
    /// When the CA file or the proxy cannot be used.
    pub fn network(&self, profiles: &Profiles, profile: &Profile) -> Result<Network> {
        let in_profile = || profile.ca_file.as_deref().map(|file| profiles.relative(file));
        let ca_file = self.ca_file.clone().or_else(in_profile);
        let proxy = profile.proxy.as_ref().map(|url| &url.0);
        network(ca_file.as_deref(), self.proxy.as_deref(), &profiles.path, proxy)
    }
}
