use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use iotstream::cli::{Cli, Command};
use iotstream::{command, complete, logging, process};

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).var(complete::VARIABLE).complete();
    process::no_core_dumps();
    let cli = Cli::parse();
    logging::start(cli.log(), matches!(cli.command, Some(Command::Agent(_))));
    match command::run(cli) {
        Ok(code) => code,
        Err(error) => {
            logging::report(&error);
            ExitCode::from(error.exit() as u8)
        }
    }
}
