//! OpenSSH: the in-band error, the client's configuration, and host keys: as a server has them, and as ssh reads and shows
//! them.

pub(crate) mod config;
pub(crate) mod disconnect;
#[cfg(fuzzing)]
pub mod fuzzing;
pub(crate) mod key_exchange;
pub(crate) mod known_hosts;
mod packet;
pub(crate) mod randomart;
pub(crate) mod version;
