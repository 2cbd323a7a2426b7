//! What concerns OpenSSH: the message that a client shows, and its configuration.

pub mod config;
pub mod disconnect;
