//! A caller's access to a service.

use crate::config::{CommandLine, Source};
use crate::error::Result;
use crate::net::Network;
use crate::profile::{Profile, Profiles};
use crate::secret::Secret;

/// A profile, and the network to reach its service.
#[derive(Clone, Debug)]
pub(crate) struct Access<'a> {
    /// The profile file.
    pub profiles: &'a Profiles,
    /// The profile's name.
    pub name: &'a str,
    /// The profile.
    pub profile: &'a Profile,
    /// The network.
    pub network: Network,
}

/// A profile's credential, before a backend parses it.
#[derive(Debug)]
pub(crate) enum Stored<'a> {
    /// A connection string.
    ConnectionString {
        /// The description of its source.
        source: String,
        /// The connection string.
        text: Secret,
    },
    /// A command that prints Entra ID tokens.
    TokenCommand {
        /// The description of its source.
        source: String,
        /// The key that names the service.
        key: &'static str,
        /// The service.
        service: &'a str,
        /// The command.
        command: &'a CommandLine,
    },
}

impl<'a> Access<'a> {
    /// Reads the profile's credential. Blocks while the profile's command runs.
    ///
    /// # Errors
    /// Returns an error if the source cannot be read. The error does not contain the credential.
    pub(crate) fn stored(&self) -> Result<Stored<'a>> {
        let origin = Source::of(self.name, self.profile, self.profiles.directory())?;
        let source = origin.describe(self.name);
        Ok(match origin {
            Source::Token { key, service, command } => Stored::TokenCommand { source, key, service, command },
            origin => Stored::ConnectionString { source, text: origin.read(self.name)? },
        })
    }
}
