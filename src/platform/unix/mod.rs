//! What every supported system must provide, for Unix.

pub mod private_file;
pub mod process;
pub mod service_manager;
pub mod signals;
pub mod stdio;
