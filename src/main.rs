use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;
use iotstream::cli::complete;
use iotstream::cli::{Cli, Command, HostKeys, in_order, proxy_command, usage_error};
use iotstream::platform::process;
use iotstream::{command, logging};

/// Treats an empty environment variable as unset, because containers, units and CI often set empty ones.
fn without_empty_variables(program: clap::Command) -> clap::Command {
    let is_empty = |name: &std::ffi::OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    program
        .mut_args(|argument| match argument.get_env() {
            Some(name) if is_empty(name) => argument.env(Resettable::Reset),
            _ => argument,
        })
        .mut_subcommands(without_empty_variables)
}

/// Parses the command line, or reports its error.
fn parse(words: Vec<OsString>) -> Result<Cli, ExitCode> {
    let mut program = without_empty_variables(Cli::command());
    let words = in_order(&program, words);
    let parsed = program.try_get_matches_from_mut(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let Some(usage) = usage_error(&error, &program, &words) else { error.exit() };
        let word = words.get(1).and_then(|word| program.find_subcommand(word));
        if word.is_none_or(|word| word.get_name() == "connect") {
            return command::refuse(None, &usage);
        }
        logging::report(&usage);
        // ssh ends with any other exit status of a KnownHostsCommand.
        let is_for_ssh =
            word.is_some_and(|word| word.get_name() == "host-keys") && HostKeys::is_for_ssh(&words);
        if is_for_ssh { ExitCode::SUCCESS } else { usage.exit().into() }
    })
}

fn main() -> ExitCode {
    process::started();
    CompleteEnv::with_factory(Cli::command).var(complete::VARIABLE).complete();
    process::no_core_dumps();
    let words: Vec<OsString> = env::args_os().collect();
    let cli = match proxy_command(&words, without_empty_variables).map_or_else(|| parse(words), Ok) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let asked = cli.connection().cloned();
    logging::start(cli.log().options(matches!(cli.command, Some(Command::Agent(_)))));
    match command::run(cli) {
        Ok(code) => code,
        Err(error) if asked.is_some() => command::refuse(asked.as_ref(), &error),
        Err(error) => {
            logging::report(&error);
            error.exit().into()
        }
    }
}
