//! The command line of a ProxyCommand.

use std::ffi::OsString;

use clap::{Args, FromArgMatches, Subcommand};

use super::{Cli, Command, Connect};

/// Parses `words` if none of them names a command. `None` leaves any others, and invalid ones, to the definition of the whole
/// program, which takes a tenth of a session's start to build. `adjust` changes the definition of this one.
pub fn proxy_command(words: &[OsString], adjust: impl FnOnce(clap::Command) -> clap::Command) -> Option<Cli> {
    let names_command = |word: &str| word == "help" || Command::has_subcommand(word);
    if words.iter().skip(1).any(|word| word.to_str().is_some_and(names_command)) {
        return None;
    }
    let definition = adjust(Connect::augment_args(clap::Command::new("iotstream")));
    let matches = definition.try_get_matches_from(words).ok()?;
    Some(Cli { command: None, connect: Connect::from_arg_matches(&matches).ok()? })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_proxy_command_means_what_it_means_to_the_whole_program() {
        for line in [
            "iotstream gw-07",
            "iotstream gw-07 22",
            "iotstream --name=GW-07 -- gw-07 2222",
            "iotstream --config /p.toml --profile factory -vv --stats --wait 1m30s gw-07",
            "iotstream -q --keepalive=0 --stream tcp-80 -- gw-07",
            "iotstream -r info.json -p 22",
        ] {
            let parsed = proxy_command(&words(line), |definition| definition).expect(line);
            assert_eq!(format!("{parsed:?}"), format!("{:?}", Cli::parse_from(words(line))), "{line}");
        }
    }

    #[test]
    fn any_other_command_line_is_left_to_the_whole_program() {
        for line in [
            "iotstream",
            "iotstream --help",
            "iotstream --version",
            "iotstream agent",
            "iotstream help",
            "iotstream -v connect gw-07",
            "iotstream -- agent",
            "iotstream gw-07 0",
            "iotstream gw-07 22 more",
            "iotstream --unknown gw-07",
        ] {
            assert!(proxy_command(&words(line), |definition| definition).is_none(), "{line}");
        }
    }
}
