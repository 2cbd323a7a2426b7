//! What depends on the operating system.

mod auto_tuned;
pub mod parent;
pub mod private_file;
pub mod process;
pub mod service_manager;
pub mod signals;
pub mod stdio;

pub use auto_tuned::AutoTuned;
