//! The user's state directory: what is kept between runs, and can be lost without harm.

pub mod device_ids;
mod directory;
pub mod gateways;
pub mod last_failure;
pub mod rate;
