//! A caller's access to a service.

use crate::net::Network;
use crate::profile::{Profile, Profiles};

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
