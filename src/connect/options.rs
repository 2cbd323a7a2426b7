//! The options of a connection.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::network::network;
use crate::error::Result;
use crate::net::Network;
use crate::profile::{Profile, Profiles, default_path, stream_for_port};

/// The options of a connection. `None` is the profile's value.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// ssh's `%h`.
    pub host: String,
    /// The port, which selects the stream.
    pub port: Option<u16>,
    /// The stream's name, which overrides the port's.
    pub stream: Option<String>,
    /// The profile.
    pub profile: ProfileOptions,
    /// ssh's `%n`: the name as typed.
    pub name: Option<String>,
    /// The module id.
    pub module: Option<String>,
    /// How long the service waits for the device to come online.
    pub connect_timeout: Option<Duration>,
    /// How long the service waits for the device's answer.
    pub response_timeout: Option<Duration>,
    /// How long to retry while the device is offline.
    pub wait: Option<Duration>,
    /// The silence after which the peer is pinged; zero disables pings.
    pub keepalive: Option<Duration>,
    /// Print statistics at the end.
    pub stats: bool,
    /// The machine of Azure Arc that `az ssh` asks for, in place of a host.
    pub az: Option<Az>,
}

/// What `az ssh` passes in place of a host.
#[derive(Clone, Debug)]
pub struct Az {
    /// The file with the relay's credentials, else a variable has them.
    pub relay_info: Option<PathBuf>,
    /// The domain of relays in another cloud.
    pub relay_suffix: Option<String>,
}

impl Options {
    /// The stream's name, as far as it is known without the profile.
    pub fn stream_asked(&self) -> String {
        self.stream.clone().unwrap_or_else(|| stream_for_port(self.port.unwrap_or(22)))
    }
}

/// The options of the profile and its network.
#[derive(Clone, Debug, Default)]
pub struct ProfileOptions {
    /// The profile's name.
    pub name: Option<String>,
    /// The profile file.
    pub file: Option<PathBuf>,
    /// Certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL.
    pub proxy: Option<String>,
}

impl ProfileOptions {
    /// Reads the profile file.
    ///
    /// # Errors
    /// Returns the errors of [`Profiles::read`].
    pub fn read(&self) -> Result<Profiles> {
        Profiles::read(&self.file.clone().unwrap_or_else(default_path))
    }

    /// The network to reach the service of `profile`.
    ///
    /// # Errors
    /// Returns an error if the CA file or the proxy is invalid.
    pub fn network(&self, profiles: &Profiles, profile: &Profile) -> Result<Network> {
        let in_profile = || profile.ca_file.as_deref().map(|file| profiles.relative(file));
        let ca_file = self.ca_file.clone().or_else(in_profile);
        let proxy = profile.proxy.as_ref().map(|url| &url.0);
        network(ca_file.as_deref(), self.proxy.as_deref(), &profiles.path, proxy)
    }
}
