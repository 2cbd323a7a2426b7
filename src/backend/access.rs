//! What a backend needs of a profile.

use crate::net::Network;
use crate::profile::{Profile, Profiles};

/// A profile, and the network on which its service is reached.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// The file that the profile is in.
    pub profiles: &'a Profiles,
    pub name: &'a str,
    pub profile: &'a Profile,
    pub network: Network,
}
