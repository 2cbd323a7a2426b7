//! What depends on the operating system. This file alone chooses by it: `system` has what Unix and Windows each do in their
//! own manner, and `extra` what one system offers and the others lack.

#[cfg(any(windows, test))]
mod access_list;
mod auto_tuned;
mod file_access;
pub mod process;
mod replace;
mod runner;
mod service_file;
mod signal;
pub(crate) mod tcp;
mod tcp_info;
mod unwritable;
pub(crate) mod verbatim;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as extra;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as extra;

#[cfg(windows)]
use windows as extra;

pub use auto_tuned::AutoTuned;
pub(crate) use extra::file::is_remote;
pub(crate) use extra::{machine, parent};
pub(crate) use runner::Runner;
pub(crate) use service_file::SERVICE;
pub use service_file::ServiceFile;
pub(crate) use signal::{HelperSignal, ServiceSignal};
pub(crate) use system::{
    RUNNER, child, directories, environment, host_name, local_socket, restart, service_manager, signals,
    system_log, terminal,
};
pub use system::{private_file, stdio};
pub use tcp_info::TcpInfo;
