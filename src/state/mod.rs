//! The user's state directory: data kept between runs that can be lost without harm.

pub(crate) mod arc_credentials;
pub(crate) mod assignment;
pub(crate) mod device_ids;
mod directory;
pub(crate) mod gateways;
pub(crate) mod last_failure;
pub(crate) mod rate;
pub(crate) mod reports;
pub(crate) mod without_module;
