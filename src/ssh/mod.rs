//! OpenSSH: the in-band error, the client's configuration, and the host keys of a server.

pub(crate) mod config;
pub(crate) mod disconnect;
pub(crate) mod key_exchange;
mod packet;
