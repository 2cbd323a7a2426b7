//! A wrong command line, reported like every other error: the problem and a hint.

use std::env;
use std::ffi::OsString;

use clap::Command;
use clap::error::ErrorKind;

use crate::error::Error;

/// The error that clap has found in `words`; `None` for its help and version.
pub fn usage_error(error: &clap::Error, program: &Command, words: &[OsString]) -> Option<Error> {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        return None;
    }
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default().trim_start_matches("error: ");
    let mut problem = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut command, mut name) = (program, program.get_name().to_owned());
    for word in words.iter().skip(1) {
        let Some(next) = command.find_subcommand(word) else { break };
        command = next;
        name += &format!(" {}", command.get_name());
    }
    let variables: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| blamed(argument, error.kind(), &problem, words))
        .collect();
    if !variables.is_empty() {
        problem += &format!(" (from {})", variables.join(", "));
    }
    let tip = parts.find_map(|part| part.trim().strip_prefix("tip: ")).filter(|_| variables.is_empty());
    let hint = match tip {
        Some(tip) => format!("{tip}; `{name} --help` shows all options"),
        None => format!("`{name} --help` shows the syntax"),
    };
    Some(Error::usage(problem, hint))
}

/// The variable that sets `argument`, where the error is about it and it is not among the words.
fn blamed(argument: &clap::Arg, kind: ErrorKind, problem: &str, words: &[OsString]) -> Option<String> {
    let variable = argument.get_env()?;
    let value = env::var_os(variable)?;
    let long = format!("--{}", argument.get_long()?);
    let is_named = || {
        problem.split(['\'', ' ', '=']).any(|part| part.trim_end_matches("...") == long)
            && !words.iter().any(|word| word.to_string_lossy().split('=').next() == Some(&long))
    };
    let is_meant = if kind == ErrorKind::InvalidUtf8 { value.to_str().is_none() } else { is_named() };
    is_meant.then(|| variable.to_string_lossy().into_owned())
}
