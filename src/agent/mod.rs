//! The device's side: waits at the hub for stream offers, decides, and connects each stream to its target.

mod approval;
mod audit;
mod audit_file;
mod audit_line;
mod audit_queue;
mod builtin;
mod check;
mod command_exit;
pub(crate) mod config;
mod credential;
mod environment;
mod flood;
mod install;
pub(crate) mod schema;
mod serve;
mod sessions;
mod stderr_log;
mod stream;
mod target;
mod traffic;

pub use approval::Approve;
pub use builtin::Builtin;
pub use check::check;
pub use config::Config;
pub use install::{UNIT, unit};
pub use schema::Transport;
pub use serve::{Order, Reread, serve};
pub use target::{Address, Target};
