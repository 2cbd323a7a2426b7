//! `ssh`, `scp`, `sftp`, `rsync` and `git` through an Azure IoT Hub device stream.
//!
//! The modules of this file are the rooms of the house, from the top down: a room imports only rooms below it, and
//! `.ci/arrows` checks that. The library is open to the binary and the project's own tests, and keeps no promise to others.

// Both sides of a protocol are in one file. Without the emulator, nothing uses the service's.
#![cfg_attr(not(feature = "emulator"), allow(dead_code, unused_imports))]

/// One file for each command: resolves its inputs and calls the rooms below.
pub mod command;

/// The command line: clap's types, help, completion candidates.
pub mod cli;

/// The caller's side of a stream: what to ask for, asking and trying again, stdin and stdout.
pub mod connect;

/// The device's side: streams, targets, approval, limits, the audit log.
pub mod agent;

/// The measurements of `ping` and `bench`.
mod measure;

/// A local IoT Hub.
#[cfg(feature = "emulator")]
mod emulator;

/// How a stream is asked for and offered: one folder for each service.
mod backend;

/// The findings of a check.
mod check;

/// OpenSSH: the client's configuration, and the in-band error.
mod ssh;

/// The profile file, and the mapping of host names to devices.
pub mod profile;

/// The parts that both configuration files share: TOML with line numbers, sources of secrets.
mod config;

/// The user's state directory.
mod state;

/// DNS, TCP, proxies, TLS, HTTP and WebSocket upgrades.
mod net;

/// The pumps between a byte stream and a WebSocket.
mod tunnel;

/// The log: stderr, a file, the system's log.
pub mod logging;

/// The parts that depend on the operating system.
pub mod platform;

/// Errors, hints and the exit status.
pub mod error;

/// Clocks, phases of a set-up, back-off.
pub mod time;

/// Durations, sizes, patterns, encodings.
mod text;

/// Secret text.
mod secret;

/// What `fuzz/` runs: functions that take foreign bytes to the parsers and the sessions, and panic if the result contradicts
/// itself.
#[cfg(fuzzing)]
pub mod fuzzing;
