use std::process::ExitCode;

use clap::Parser;
use iotstream::cli::Cli;
use iotstream::{command, complete, logging, process};

fn main() -> ExitCode {
    complete::hook();
    process::no_core_dumps();
    let cli = Cli::parse();
    match logging::start(cli.log()).and_then(|()| command::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            logging::report(&error);
            ExitCode::from(error.exit() as u8)
        }
    }
}
