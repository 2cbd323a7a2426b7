//! The device's side.

pub mod hub_connection;
pub mod link;
