//! What depends on the operating system. This file alone chooses by it: `system` has what every supported system must
//! provide, and `extra` what only Linux offers, which the other systems do without.

mod auto_tuned;
pub mod process;
pub(crate) mod tcp;
mod tcp_info;
mod unwritable;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as extra;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
use elsewhere as extra;

pub use auto_tuned::AutoTuned;
pub(crate) use extra::file::is_remote;
pub(crate) use extra::{machine, parent};
pub(crate) use system::{child, host_name, local_socket, service_manager, signals, system_log, terminal};
pub use system::{private_file, stdio};
pub use tcp_info::TcpInfo;
