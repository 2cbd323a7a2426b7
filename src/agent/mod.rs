//! The device's side: accepts or rejects the streams that a listener offers, and connects each to its target.

mod approval;
mod audit;
mod check;
mod clients;
mod config;
mod control;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host_keys;
mod install;
mod live_streams;
mod metrics;
mod patience;
mod rejection_log;
mod serve;
mod stream;
mod stream_limits;
mod target;
mod traffic;

pub use approval::Approve;
pub use check::check;
pub use config::Config;
pub use control::{Reply, Request, ServiceState, Status, ask as ask_agent, default_socket};
pub use install::{Installation, install};
pub use serve::{Order, RereadAll, serve};
pub use target::{Address, Builtin, Server, Target};
