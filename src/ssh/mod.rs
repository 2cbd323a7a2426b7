//! OpenSSH: the in-band error, and the client's configuration.

pub(crate) mod config;
pub(crate) mod disconnect;
