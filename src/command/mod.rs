//! One file per command: it resolves its inputs and calls the rooms below; it owns no protocol.

mod agent;
mod agent_control;
mod bench;
mod check;
mod completions;
mod connect;
#[cfg(feature = "emulator")]
mod demo;
mod devices;
#[cfg(feature = "emulator")]
mod emulator;
mod host_keys;
mod last;
mod listing;
mod options;
mod output;
mod ping;
mod profile;
mod progress;
mod prompt;
mod show;
mod socket_unit;
mod ssh_config;

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::cli::{Cli, Command};
use crate::error::{Error, Result};

pub use connect::refuse;

/// Runs what the command line asked for.
///
/// # Errors
/// What ended the command, for the caller to print.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => connect::run(&cli.connect),
        Some(Command::Connect(args)) => connect::run(&args),
        Some(Command::Agent(args)) => match &args.action {
            Some(action) => agent_control::run(action),
            None => agent::run(&args),
        },
        #[cfg(feature = "emulator")]
        Some(Command::Emulator(args)) => emulator::run(&args),
        #[cfg(feature = "emulator")]
        Some(Command::Demo(args)) => demo::run(&args),
        #[cfg(not(feature = "emulator"))]
        Some(Command::Emulator(_) | Command::Demo(_)) => Err(Error::usage(
            "this iotstream was built without the emulator",
            "build it with its default features: cargo install iotstream",
        )),
        Some(Command::Devices(args)) => devices::run(&args),
        Some(Command::Profile(args)) => profile::run(&args.action),
        Some(Command::SshConfig(args)) => ssh_config::run(&args),
        Some(Command::SocketUnit(args)) => socket_unit::run(&args),
        Some(Command::HostKeys(args)) => host_keys::run(&args),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Ping(args)) => ping::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Last(_)) => last::run(),
    }
}

/// The runtime of every command that waits for something: one thread is enough for all of them.
fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(Error::local_io("the runtime"))
}
