//! OpenSSH: the in-band error, the client's configuration, and host keys as it reads and shows them.

pub(crate) mod config;
pub(crate) mod disconnect;
pub(crate) mod known_hosts;
pub(crate) mod randomart;
