//! The device's side: accepts or rejects the streams that a listener offers, and connects each to its target.

mod approval;
mod audit;
mod audit_file;
mod audit_line;
mod audit_queue;
mod batch;
mod builtin;
mod check;
mod clients;
mod command_exit;
mod config;
mod connection;
mod control;
mod environment;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host_keys;
mod install;
mod listeners;
mod live_streams;
mod metrics;
mod patience;
mod property_list;
mod rejection_log;
mod schema;
mod serve;
mod server;
mod stderr_log;
mod stream;
mod stream_limits;
mod target;
mod traffic;

pub use approval::Approve;
pub use builtin::Builtin;
pub use check::check;
pub use config::Config;
pub use control::{Reply, Request, ServiceState, Status, ask as ask_agent, default_socket};
pub use install::{Installation, install};
pub use serve::{Order, RereadAll, serve};
pub use server::Server;
pub use target::{Address, Target};
