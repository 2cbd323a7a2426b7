//! The user's state directory: data kept between runs that can be lost without harm.

pub mod device_ids;
mod directory;
pub mod gateways;
pub mod last_failure;
pub mod rate;
