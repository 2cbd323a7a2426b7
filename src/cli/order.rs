//! Options before a command's word: those that all commands have are accepted on either side of it.

use std::ffi::OsString;

use clap::Command;

/// Those with a value.
const WITH_VALUE: [&str; 4] = ["--config", "--log-file", "--proxy", "--ca-file"];
const FLAGS: [&str; 2] = ["--verbose", "--quiet"];

/// The words of a command line, with the common options before a command's word moved right behind it, where clap looks
/// for them. One that the command does not have is dropped, so that an alias may have it. After any other option, or
/// `--`, a host follows, and the words stay as they are.
pub fn in_order(program: &Command, words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let words: Vec<OsString> = words.into_iter().collect();
    let mut at = words.len().min(1);
    let mut ordered = words[..at].to_vec();
    let mut options: Vec<&[OsString]> = Vec::new();
    let mut command = program;
    while let Some(word) = words.get(at) {
        if let Some(length) = option(word) {
            let end = words.len().min(at + length);
            options.push(&words[at..end]);
            at = end;
        } else if let Some(next) = command.find_subcommand(word) {
            ordered.push(word.clone());
            command = next;
            at += 1;
        } else {
            break;
        }
    }
    if std::ptr::eq(command, program) {
        return words;
    }
    let is_known = |option: &&[OsString]| {
        let long = option[0].to_string_lossy();
        let long = long.split('=').next().unwrap_or_default().trim_start_matches("--");
        long.starts_with('-') || command.get_arguments().any(|argument| argument.get_long() == Some(long))
    };
    ordered.extend(options.into_iter().filter(is_known).flatten().cloned());
    ordered.extend_from_slice(&words[at..]);
    ordered
}

/// How many words a common option takes, if `word` is one.
fn option(word: &OsString) -> Option<usize> {
    let word = word.to_str()?;
    let short = word.strip_prefix('-').unwrap_or_default();
    if WITH_VALUE.contains(&word) {
        return Some(2);
    }
    let has_its_value = word.split_once('=').is_some_and(|(name, _)| WITH_VALUE.contains(&name));
    let are_short = !short.is_empty() && short.chars().all(|c| "vq".contains(c));
    (has_its_value || are_short || FLAGS.contains(&word)).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn ordered(line: &str) -> String {
        let words = in_order(&Cli::command(), line.split(' ').map(OsString::from));
        words.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn common_options_go_behind_the_word() {
        for (line, expected) in [
            ("iotstream --config F check dev-1", "iotstream check --config F dev-1"),
            ("iotstream --config=F -v check -v dev-1", "iotstream check --config=F -v -v dev-1"),
            (
                "iotstream -vv --proxy none --ca-file F ping dev-1",
                "iotstream ping -vv --proxy none --ca-file F dev-1",
            ),
            ("iotstream --config F profile -q list", "iotstream profile list --config F -q"),
            ("iotstream --config F --quiet last", "iotstream last --quiet"),
            ("iotstream --config agent agent --check", "iotstream agent --config agent --check"),
            ("iotstream check --config F dev-1", "iotstream check --config F dev-1"),
        ] {
            assert_eq!(ordered(line), expected, "{line}");
        }
    }

    #[test]
    fn keeps_host_names() {
        for line in [
            "iotstream",
            "iotstream --config",
            "iotstream --config F",
            "iotstream --config F dev-1 22",
            "iotstream --config F -- check 22",
            "iotstream -v -- last",
            "iotstream --name check check",
            "iotstream --config F --profile p check",
            "iotstream -vx check dev-1",
            "iotstream dev-1 --config F check",
        ] {
            assert_eq!(ordered(line), line);
        }
    }
}
