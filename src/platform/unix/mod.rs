//! What every supported system must provide, for Unix.

pub mod child;
pub mod local_socket;
pub mod private_file;
pub mod process;
pub mod service_manager;
pub mod signals;
pub mod stdio;
pub mod system_log;
pub mod terminal;
