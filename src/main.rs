use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use iotstream::cli::Cli;
use iotstream::{command, logging};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match logging::start(cli.log()).and_then(|()| command::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            // With stderr gone there is nobody left to tell.
            let _ = std::io::stderr().write_all(error.report().as_bytes());
            ExitCode::from(error.exit() as u8)
        }
    }
}
