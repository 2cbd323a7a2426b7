//! `ssh`, `scp`, `sftp`, `rsync` and `git` through an Azure IoT Hub device stream.
//!
//! The library is what the binary is made of; it is open to the project's own tests and keeps no promise to others.

pub mod agent;
pub mod backend;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod connect;
pub mod emulator;
pub mod error;
pub mod logging;
pub mod measure;
pub mod net;
pub mod platform;
pub mod profile;
pub mod secret;
pub mod ssh;
pub mod state;
pub mod text;
pub mod time;
pub mod tunnel;
