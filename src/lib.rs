//! `ssh`, `scp`, `sftp`, `rsync` and `git` through an Azure IoT Hub device stream.
//!
//! The library is what the binary is made of; it is open to the project's own tests and keeps no promise to others.

pub mod agent;
pub mod backoff;
mod buffer;
pub mod cli;
pub mod clock;
pub mod command;
pub mod complete;
pub mod content;
pub mod device_cache;
pub mod disconnect;
pub mod duration;
pub mod emulator;
pub mod error;
pub mod failure_record;
pub mod finding;
pub mod gateway_cache;
pub mod iothub;
pub mod logging;
pub mod measure;
pub mod net;
pub mod pattern;
pub mod phase;
pub mod private_file;
pub mod process;
pub mod profile;
pub mod rate;
pub mod secret;
pub mod service;
pub mod size;
pub mod ssh_config;
pub mod state;
pub mod tunnel;
