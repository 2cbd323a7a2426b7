//! What Win32-OpenSSH 9.8 does to a ProxyCommand, for tests of `iotstream.exe`.

pub mod command_line;
pub mod pipe;
pub mod process;
pub mod root_store;
