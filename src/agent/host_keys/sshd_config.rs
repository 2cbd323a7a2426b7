//! The host key files of an sshd that a command starts, from its arguments and its configuration.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::text::pattern;

/// sshd's directory, where relative names in an Include start.
const DIRECTORY: &str = "/etc/ssh";
const CONFIG: &str = "/etc/ssh/sshd_config";

/// The host keys without a HostKey line, each used if it exists.
const DEFAULTS: [&str; 3] =
    ["/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key"];

/// sshd's options with a value.
const WITH_VALUE: &str = "CEbcfghkopu";

/// sshd's limit for Include in included files.
const DEEPEST: usize = 16;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// What an sshd's configuration says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    /// The private key of each host key.
    pub(super) host_keys: Vec<PathBuf>,
    /// The files that were read.
    pub(super) files: Vec<PathBuf>,
}

/// Whether the command's program is sshd.
pub(super) fn is_sshd(command: &[String]) -> bool {
    let program = command.first().map(Path::new).and_then(Path::file_name);
    program.is_some_and(|name| name == "sshd")
}

/// Reads the configuration of the sshd that `command` starts. May block.
///
/// # Errors
/// Returns an error if a file cannot be read.
pub(super) fn read(command: &[String]) -> Result<Configuration, Problem> {
    let mut found = Configuration::default();
    let mut config = PathBuf::from(CONFIG);
    for (option, value) in options(command) {
        match option {
            'f' => config = value.into(),
            'h' => found.host_keys.push(value.into()),
            'o' => {
                found.line(value, 0)?;
            }
            _ => {}
        }
    }
    found.file(&config, 0)?;
    if found.host_keys.is_empty() {
        found.host_keys = DEFAULTS.map(PathBuf::from).into_iter().filter(|key| key.exists()).collect();
    }
    found.host_keys.retain(|key| key != Path::new("none"));
    Ok(found)
}

/// The options with a value, as getopt finds them.
fn options(command: &[String]) -> Vec<(char, &str)> {
    let mut found = Vec::new();
    let mut words = command.iter().skip(1);
    while let Some(flags) = words.next().and_then(|word| word.strip_prefix('-')).filter(|flags| *flags != "-")
    {
        if let Some(at) = flags.find(|flag| WITH_VALUE.contains(flag)) {
            let (option, rest) = flags[at..].split_at(1);
            let value = if rest.is_empty() { words.next().map(String::as_str) } else { Some(rest) };
            found.extend(option.chars().next().zip(value));
        }
    }
    found
}

impl Configuration {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), Problem> {
        self.files.push(path.to_owned());
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        read.map_err(|error| Problem::because(format!("{}: {error}", path.display()), error))?;
        for line in String::from_utf8_lossy(&text).lines() {
            if !self.line(line, depth)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a line, and returns whether the next one counts: host keys cannot be in a Match, which lasts to the file's end.
    fn line(&mut self, line: &str, depth: usize) -> Result<bool, Problem> {
        let line = line.trim_start();
        let (keyword, values) =
            line.split_at(line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len()));
        let values = values.trim_start();
        let values = shlex::split(values.strip_prefix('=').unwrap_or(values)).unwrap_or_default();
        match keyword.to_ascii_lowercase().as_str() {
            "match" => return Ok(false),
            "hostkey" => self.host_keys.extend(values.first().map(PathBuf::from)),
            "include" if depth < DEEPEST => {
                for path in values.iter().flat_map(|value| expand(&Path::new(DIRECTORY).join(value))) {
                    self.file(&path, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// The existing files that a pattern names, in the order of their names.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = component.as_os_str().to_string_lossy();
        if !part.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        let matching = |directory: &PathBuf| {
            let names =
                fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
            let is_match = |name: &str| {
                // A hidden file is named by its dot.
                pattern::matches(&part, name) && (part.starts_with('.') || !name.starts_with('.'))
            };
            let mut names: Vec<_> = names.filter(|name| name.to_str().is_some_and(is_match)).collect();
            names.sort();
            names.into_iter().map(|name| directory.join(name)).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(matching).collect();
    }
    found.retain(|path| path.exists());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn recognises_sshd() {
        for (command, is) in [
            (&["sshd", "-i"][..], true),
            (&["/usr/sbin/sshd"], true),
            (&["dropbear", "-i"], false),
            (&["/usr/local/bin/sshd-wrapper"], false),
            (&["sh", "-c", "exec sshd -i"], false),
            (&[], false),
        ] {
            assert_eq!(is_sshd(&words(command)), is, "{command:?}");
        }
    }

    #[test]
    fn options_are_those_of_getopt() {
        let command = ["sshd", "-ief/a", "-D", "-o", "HostKey /b", "-h", "/c", "-p22", "--", "-h/d"];
        let expected = [('f', "/a"), ('o', "HostKey /b"), ('h', "/c"), ('p', "22")];
        assert_eq!(options(&words(&command)), expected);
        assert_eq!(options(&words(&["sshd", "-i", "stop", "-f", "/a"])), []);
        assert_eq!(options(&words(&["sshd", "-f"])), []);
    }

    /// The host keys of an sshd with this configuration file, and the files that were read, without their directory.
    fn host_keys(main: &str, more: &[&str]) -> (Vec<String>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let here = directory.path().display().to_string();
        fs::create_dir(path("conf.d")).unwrap();
        fs::write(path("conf.d/b.conf"), "HostKey /from-b\nMatch user x\nHostKey /never\n").unwrap();
        fs::write(path("conf.d/a.conf"), "hostkey=/from-a\n").unwrap();
        fs::write(path("conf.d/.hidden.conf"), "HostKey /never\n").unwrap();
        fs::write(path("loop.conf"), format!("HostKey /loop\nInclude {here}/loop.conf\n")).unwrap();
        fs::write(path("sshd_config"), main.replace("HERE", &here)).unwrap();
        let mut command = words(&["/usr/sbin/sshd", "-i", "-f"]);
        command.push(path("sshd_config").display().to_string());
        command.extend(words(more));
        let found = read(&command).unwrap();
        let shown = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.display().to_string().replace(&here, "")).collect::<Vec<_>>()
        };
        (shown(&found.host_keys), shown(&found.files))
    }

    #[test]
    fn host_keys_come_from_lines_outside_of_match() {
        for (config, more, expected) in [
            (
                "HostKey /a\n\tHOSTKEY \"/b c\" # comment\n#HostKey /c\nhostkey = /d\n",
                &[][..],
                &["/a", "/b c", "/d"][..],
            ),
            ("HostKey /a\nMatch all\nHostKey /b\n", &[], &["/a"]),
            ("HostKeyAlgorithms x\nHostKey /a\nHostCertificate /c\n", &[], &["/a"]),
            ("HostKey /a\n", &["-h", "/b", "-oHostKey=/c", "-o", "HostKey /d"], &["/b", "/c", "/d", "/a"]),
            ("HostKey none\n", &[], &[]),
            ("HostKey \"/unbalanced\nHostKey /a\n", &[], &["/a"]),
        ] {
            assert_eq!(host_keys(config, more).0, expected, "{config}");
        }
    }

    #[test]
    fn included_files_count() {
        let config = "Include HERE/conf.d/*.conf HERE/none\nHostKey /a\n";
        let (keys, files) = host_keys(config, &[]);
        assert_eq!(keys, ["/from-a", "/from-b", "/a"]);
        assert_eq!(files, ["/sshd_config", "/conf.d/a.conf", "/conf.d/b.conf"]);
        assert_eq!(host_keys("Include HERE/c*.d/?.conf\n", &[]).0, ["/from-a", "/from-b"]);
        assert_eq!(host_keys("Match all\nInclude HERE/conf.d/*.conf\nHostKey /a\n", &["-h/b"]).0, ["/b"]);
        assert_eq!(host_keys("Include HERE/loop.conf\n", &[]).0.len(), DEEPEST);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_an_error() {
        let problem = read(&words(&["sshd", "-f", "/no/such/file"])).unwrap_err();
        assert!(problem.to_string().starts_with("/no/such/file: No such file"), "{problem}");
    }
}
