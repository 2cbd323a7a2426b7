//! OpenSSH: the in-band error, and the client's configuration.

pub mod config;
pub mod disconnect;
