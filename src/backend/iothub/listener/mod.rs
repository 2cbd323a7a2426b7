//! The device's side.

pub mod link;
pub mod mqtt;
