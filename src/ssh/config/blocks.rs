//! `Host` blocks for ssh's configuration: one for each profile, and one with a host key alias for each named device.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::known_hosts_command::known_hosts_command;
use crate::error::{Error, Result};
use crate::platform::Runner;
use crate::profile::{Profile, Profiles};

/// Seconds between ssh's keepalives, below the idle limits of firewalls and proxies.
const SERVER_ALIVE_INTERVAL: u32 = 30;

/// The program of a ProxyCommand and a KnownHostsCommand.
#[derive(Debug)]
pub(crate) struct Helper {
    runner: Runner,
    program: String,
    config: Option<String>,
    /// The same without quotes.
    paths: (PathBuf, Option<PathBuf>),
}

impl Helper {
    /// The program and, unless it is the default one, the profile file, both as absolute paths, for commands that `runner`
    /// runs.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if a path cannot be written for the runner.
    pub(crate) fn new(runner: Runner, program: &Path, config: Option<&Path>) -> Result<Self> {
        let (program, config) = (runner.path(program), config.map(|path| runner.path(path)));
        let word = |option: &str, path: &Path| {
            let word = path.to_str().and_then(|path| quoted(runner, &format!("{option}{path}")));
            word.ok_or_else(|| {
                let (problem, hint) = match runner {
                    Runner::Shell => ("every shell", "'\\', '!' and control characters"),
                    Runner::CreateProcess => ("ssh on Windows and for sh", "'$', '`' and control characters"),
                };
                Error::usage(
                    format!("the path {} cannot be quoted for {problem}", path.display()),
                    format!("choose a path without {hint}"),
                )
            })
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
        let written = match program.to_str() {
            Some(plain) if plain.chars().all(is_plain) => plain.to_owned(),
            _ => word("", &program)?,
        };
        let option = config.as_deref().map(|path| word("--config=", path)).transpose()?;
        Ok(Self { runner, program: written, config: option, paths: (program, config) })
    }

    /// The KnownHostsCommand for a profile; `None` if a path or the name cannot be written.
    pub(crate) fn known_hosts_command(&self, profile: &str) -> Option<String> {
        let (program, config) = &self.paths;
        known_hosts_command(program, config.as_deref(), profile)
    }

    /// The ProxyCommand with one more option, such as `--proxy=none`; `None` if the option cannot be written for the runner.
    pub(crate) fn command(&self, option: &str) -> Option<String> {
        let config = self.config.iter().cloned();
        let option = quoted(self.runner, option)?;
        // ssh does not quote its tokens. `--` is for names that look like an option or a command.
        let name = "\"--name=%n\" -- \"%h\" \"%p\"".to_owned();
        let words: Vec<_> = [self.program.clone()].into_iter().chain(config).chain([option, name]).collect();
        Some(words.join(" "))
    }
}

/// Quotes a word for a command in ssh's configuration.
fn quoted(runner: Runner, word: &str) -> Option<String> {
    if word.is_empty() || word.contains(char::is_control) {
        return None;
    }
    let quoted = match runner {
        Runner::Shell => quoted_for_shells(word),
        // Within double quotes CreateProcess interprets a quote and backslashes before it, and sh, through which the ssh of
        // Git for Windows runs commands, these characters.
        Runner::CreateProcess => (!word.contains(['"', '\\', '$', '`'])).then(|| format!("\"{word}\"")),
    };
    quoted.map(|quoted| quoted.replace('%', "%%"))
}

/// Quotes a word for sh, bash, dash, ksh, zsh, fish, csh, nushell and xonsh alike. nushell and xonsh accept quotes only
/// around a whole word: a word with an apostrophe and one of `"`, `$` and backtick cannot be quoted for them. xonsh expands
/// variables in any quotes.
fn quoted_for_shells(word: &str) -> Option<String> {
    // fish interprets backslashes within single quotes, and csh exclamation marks.
    if word.contains(['\\', '!']) {
        return None;
    }
    Some(match (word.contains(['"', '$', '`']), word.contains('\'')) {
        (false, _) => format!("\"{word}\""),
        (true, false) => format!("'{word}'"),
        (true, true) => format!("'{}'", word.replace('\'', "'\\''")),
    })
}

/// The blocks for all profiles. `devices` returns the device ids of a profile that get a block each, and `known_hosts` the
/// KnownHostsCommand of a profile that asks for host keys, unless ssh would not run it.
///
/// # Errors
/// Returns the errors of `devices`.
pub(crate) fn blocks(
    profiles: &Profiles,
    helper: &Helper,
    mut devices: impl FnMut(&str, &Profile) -> Result<Vec<String>>,
    mut known_hosts: impl FnMut(&str) -> Option<String>,
) -> Result<String> {
    let mut text = String::new();
    for (name, profile) in &profiles.all {
        let known = devices(name, profile)?;
        let Some(command) = helper.command(&format!("--profile={name}")) else {
            let _ = writeln!(text, "# a profile is left out: its name cannot be quoted\n");
            continue;
        };
        let names: BTreeSet<String> = profile
            .devices
            .keys()
            .chain(&known)
            .map(|device| profile.host_name(device))
            .filter(|name| is_typeable(name))
            .collect();
        for name in &names {
            // A device has one host key for all ports.
            let _ = writeln!(text, "Host {name}\n    HostKeyAlias {name}\n");
        }
        let unmatched = names.iter().filter(|name| !profile.is_for(name));
        let hosts: Vec<&str> = profile.hosts.iter().chain(unmatched).map(String::as_str).collect();
        if hosts.is_empty() {
            let _ = writeln!(text, "# profile {name} has no hosts and names no devices\n");
            continue;
        }
        let hosts = hosts.join(" ");
        let _ = writeln!(
            text,
            "Host {hosts}\n    ProxyCommand {command}\n    ServerAliveInterval {SERVER_ALIVE_INTERVAL}"
        );
        if profile.asks_for_host_keys()
            && let Some(command) = known_hosts(name)
        {
            let _ = writeln!(text, "    KnownHostsCommand {command}\n    StrictHostKeyChecking yes");
        }
        text.push('\n');
    }
    Ok(text)
}

/// Whether ssh accepts `name` as a single host. Other devices need an alias.
fn is_typeable(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Device, HostKeyPolicy};
    use std::collections::BTreeMap;

    #[test]
    fn quotes_whole_words() {
        for (word, expected) in [
            ("a b", Some("\"a b\"")),
            ("it's", Some("\"it's\"")),
            ("$a", Some("'$a'")),
            ("a\"b", Some("'a\"b'")),
            ("it's $a", Some("'it'\\''s $a'")),
            ("100%", Some("\"100%%\"")),
            ("a!b", None),
            ("a\\b", None),
            ("a\nb", None),
        ] {
            assert_eq!(quoted(Runner::Shell, word).as_deref(), expected, "{word}");
        }
        for (word, expected) in [
            ("a b", Some("\"a b\"")),
            ("it's!", Some("\"it's!\"")),
            ("100%", Some("\"100%%\"")),
            ("$a", None),
            ("`a`", None),
            ("a\\b", None),
            ("a\"b", None),
        ] {
            assert_eq!(quoted(Runner::CreateProcess, word).as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn writes_a_block_for_each_profile_and_device() {
        let profile = |hosts: &[&str], aliases: &[&str]| Profile {
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            devices: aliases.iter().map(|&alias| (alias.to_owned(), Device::Id("x".into()))).collect(),
            ..Profile::default()
        };
        let profiles = Profiles {
            path: "p".into(),
            default: None,
            all: BTreeMap::from([
                ("factory".into(), profile(&["*.factory", "gw-?"], &["press"])),
                ("home".into(), profile(&[], &[])),
                (
                    "my office".into(),
                    Profile { host_keys: Some(HostKeyPolicy::Pin), ..profile(&[], &["door"]) },
                ),
                (
                    "old".into(),
                    Profile { host_keys: Some(HostKeyPolicy::Follow), ..profile(&["*.old"], &[]) },
                ),
                (
                    "quiet".into(),
                    Profile { host_keys: Some(HostKeyPolicy::Off), ..profile(&["*.quiet"], &[]) },
                ),
            ]),
        };
        let helper = Helper::new(Runner::Shell, Path::new("/opt/my tools/100%/it's"), None).unwrap();
        let known = |name: &str, _: &Profile| {
            Ok(if name == "factory" {
                vec!["Gw-07".into(), "Line(3),Press".into(), "-x".into()]
            } else {
                vec![]
            })
        };
        let program = "\"/opt/my tools/100%%/it's\"";
        assert_eq!(
            blocks(&profiles, &helper, known, |name| (name != "old").then(|| format!("{name}!"))).unwrap(),
            format!(
                "Host Gw-07.factory\n    HostKeyAlias Gw-07.factory\n\n\
                 Host press.factory\n    HostKeyAlias press.factory\n\n\
                 Host *.factory gw-?\n    \
                 ProxyCommand {program} \"--profile=factory\" \"--name=%n\" -- \"%h\" \"%p\"\n    \
                 ServerAliveInterval 30\n\n\
                 # profile home has no hosts and names no devices\n\n\
                 Host door\n    HostKeyAlias door\n\n\
                 Host door\n    \
                 ProxyCommand {program} \"--profile=my office\" \"--name=%n\" -- \"%h\" \"%p\"\n    \
                 ServerAliveInterval 30\n    KnownHostsCommand my office!\n    StrictHostKeyChecking yes\n\n\
                 Host *.old\n    \
                 ProxyCommand {program} \"--profile=old\" \"--name=%n\" -- \"%h\" \"%p\"\n    \
                 ServerAliveInterval 30\n\n\
                 Host *.quiet\n    \
                 ProxyCommand {program} \"--profile=quiet\" \"--name=%n\" -- \"%h\" \"%p\"\n    \
                 ServerAliveInterval 30\n\n"
            )
        );
        let with_config =
            Helper::new(Runner::Shell, Path::new("/bin/iotstream"), Some(Path::new("/c.toml"))).unwrap();
        let command = with_config.command("--profile=x").unwrap();
        assert!(command.starts_with("/bin/iotstream \"--config=/c.toml\" \"--profile=x\" \"--name=%n\" -- "));
        assert!(Helper::new(Runner::Shell, Path::new("/a!b"), None).is_err());
        assert!(Helper::new(Runner::Shell, Path::new("/a\\b"), None).is_err());
    }

    #[test]
    fn on_windows_slashes_are_written_and_quotes_where_needed() {
        let helper = |program: &str, config: Option<&str>| {
            Helper::new(Runner::CreateProcess, Path::new(program), config.map(Path::new))
        };
        let plain = helper(r"C:\Users\ann\iotstream.exe", None).unwrap();
        assert_eq!(
            plain.command("--profile=x").unwrap(),
            "C:/Users/ann/iotstream.exe \"--profile=x\" \"--name=%n\" -- \"%h\" \"%p\""
        );
        let blank =
            helper(r"\\?\C:\Program Files (x86)\100%\iotstream.exe", Some(r"\\files\it's mine\p.toml"));
        let blank = blank.unwrap();
        assert_eq!(
            blank.command("--profile=x").unwrap(),
            "\"C:/Program Files (x86)/100%%/iotstream.exe\" \"--config=//files/it's mine/p.toml\" \"--profile=x\" \
             \"--name=%n\" -- \"%h\" \"%p\""
        );
        let known_hosts = blank.known_hosts_command("x").unwrap();
        assert!(
            known_hosts.starts_with("\"C:/Program Files (x86)/100%/iotstream.exe\" host-keys "),
            "{known_hosts}"
        );
        let problem = helper(r"C:\$x\iotstream.exe", None).unwrap_err().to_string();
        assert!(problem.contains("C:/$x/iotstream.exe cannot be quoted for ssh on Windows"), "{problem}");
    }
}
