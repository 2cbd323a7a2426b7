//! One file per command: it resolves its inputs and calls the parts; it owns no protocol.

mod agent;
mod connect;
mod demo;
mod emulator;
mod network;
mod signals;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::Result;

/// Runs what the command line asked for.
///
/// # Errors
/// What ended the command, for the caller to print.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => connect::run(&cli.connect),
        Some(Command::Connect(args)) => connect::run(&args),
        Some(Command::Agent(args)) => agent::run(&args),
        Some(Command::Emulator(args)) => emulator::run(&args),
        Some(Command::Demo(args)) => demo::run(&args),
    }
}
