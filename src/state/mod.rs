//! The user's state directory, with data that can be lost without harm, and the data directory, with host keys that cannot.

pub(crate) mod arc_credentials;
pub(crate) mod assignment;
pub(crate) mod device_ids;
mod directory;
#[cfg(fuzzing)]
pub mod fuzzing;
pub(crate) mod gateways;
pub(crate) mod last_failure;
pub(crate) mod pinned_host_keys;
pub(crate) mod rate;
pub(crate) mod reports;
pub(crate) mod without_module;
