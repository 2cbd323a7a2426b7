//! Finds and reads the profile file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::schema::{Document, Profile};
use crate::config::{parse_toml, read_toml};
use crate::error::{Error, Result};
use crate::platform::{directories, process};
use crate::secret::Secret;

/// The content of a profile file.
#[derive(Debug)]
pub struct Profiles {
    /// The file.
    pub path: PathBuf,
    /// The name of the default profile.
    pub default: Option<String>,
    /// The profiles by name.
    pub all: BTreeMap<String, Profile>,
}

/// `iotstream/profiles.toml` in the user's configuration directory.
pub fn default_path() -> PathBuf {
    directories::config().join("profiles.toml")
}

impl Profiles {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Returns [`Error::NoProfile`] without a file, [`Error::Permissions`] if it is exposed to other users, and
    /// [`Error::File`] or [`Error::UnknownProfile`] if it is invalid.
    pub fn read(path: &Path) -> Result<Self> {
        Self::new(path, read_document(path)?.1)
    }

    /// Reads and checks the file at `path`, and returns its text.
    ///
    /// # Errors
    /// Returns the errors of [`Self::read`].
    pub(super) fn read_text(path: &Path) -> Result<Secret> {
        let (text, document) = read_document(path)?;
        Self::new(path, document)?;
        Ok(text)
    }

    /// Parses `text`, the content of the file at `path`.
    ///
    /// # Errors
    /// Returns [`Error::File`] or [`Error::UnknownProfile`] if it is invalid.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        Self::new(path, parse_toml(path, text, HINT)?)
    }

    fn new(path: &Path, document: Document) -> Result<Self> {
        if let Some(default) = &document.default
            && !document.profile.contains_key(default)
        {
            return Err(Error::UnknownProfile {
                name: default.clone(),
                path: path.to_owned(),
                known: document.profile.keys().cloned().collect(),
            });
        }
        let variables =
            document.profile.values().filter_map(|profile| profile.connection_string_env.as_deref());
        variables.for_each(process::withhold);
        Ok(Self { path: path.to_owned(), default: document.default, all: document.profile })
    }

    /// The directory that relative paths in the file start at.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Resolves a path from the file.
    pub fn relative(&self, path: &Path) -> PathBuf {
        self.directory().join(path)
    }
}

const HINT: &str = "`man iotstream-profiles` shows every key of a profile file";

fn read_document(path: &Path) -> Result<(Secret, Document)> {
    match read_toml(path, HINT, Document::holds_secret) {
        // Only a file that is certainly missing: one in an unsearchable directory may exist.
        Err(Error::File { line: None, .. })
            if std::fs::symlink_metadata(path).is_err_and(|error| {
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
            }) =>
        {
            Err(Error::NoProfile { path: path.to_owned() })
        }
        read => read?.strictly(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CommandLine;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Profiles> {
        Profiles::parse(Path::new("/p/profiles.toml"), text)
    }

    #[test]
    fn reads_the_documented_file() {
        let profiles = parse(
            r#"
default = "factory"

[profile.factory]
connection-string = "HostName=contoso.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=AAAA"
hosts = ["*.factory"]
api-version = "2020-09-30"
connect-timeout = "30s"
response-timeout = 45
ca-file = "ca.pem"

[profile.factory.devices]
press = "Line(3),Press"
hmi = { id = "Line(3),Hmi", module = "shell", stream = "console" }
"#,
        )
        .unwrap();
        let factory = &profiles.all["factory"];
        assert_eq!(factory.response_timeout.unwrap().0.as_secs(), 45);
        assert_eq!(factory.devices.len(), 2);
        assert_eq!(profiles.relative(factory.ca_file.as_deref().unwrap()), Path::new("/p/ca.pem"));
        assert!(!format!("{profiles:?}").contains("AAAA"));
    }

    #[test]
    fn errors_name_the_line_and_key_and_no_secret() {
        for (text, line, part) in [
            ("default = \"x\"\n\n[profile.x]\nhost = []\n", 4, "no key 'host'"),
            ("[profile.x]\nhosts = \"*\"\n", 2, "invalid type"),
            ("[profile.x]\nconnect-timeout = \"soon\"\n", 2, "'soon' is not a duration"),
            ("[profile.x]\nconnect-timeout = -1\n", 2, "'-1' is not a duration"),
            ("[profile.x]\nhosts = []\nhosts = []\n", 3, "duplicate key"),
            ("[profile.x]\nconnection-string = 31337\n", 2, "a text in quotes is expected"),
            ("[profile.x]\nhosts = [\"*.x\", \"a b\"]\n", 2, "'a b' is not a pattern"),
            ("[profile.x]\ntoken-command = []\n", 2, "names no program"),
            ("[profile.x]\ntoken-command = \"az 'x\"\n", 2, "a quote in the command is not closed"),
            ("[profile.x]\nproxy = 31337\n", 2, "a text in quotes is expected"),
            ("[profile.x]\nmodule = \"\"\n", 2, "a module id has 1 to 128 characters, this one has 0"),
            ("[profile.x]\n\nmodule = \"a/b\"\n", 3, "'/' cannot be part of a module id"),
            ("[profile.x]\nmodule = 7\n", 2, "invalid type"),
            (
                "[profile.x]\nhost-keys = \"trust\"\n",
                2,
                "unknown variant `trust`, expected one of `pin`, `follow`, `off`",
            ),
            ("[profile.x]\n\nhost-keys = true\n", 3, ""),
            ("[profile.x]\nhost-ca = \"ssh-ed25519 AAAA\"\n", 2, "a public key is expected"),
            ("[profile.x]\nhost-ca = [\"\"]\n", 2, "a public key is expected"),
            ("[profile.x]\nhost-ca = 1\n", 2, "a public key as"),
            ("[profile.x.ports]\n0 = \"b\"\n", 2, "from 1 to 65535"),
            ("[profile.x.ports]\n22 = 1\n", 2, "invalid type"),
            ("[profile.x.devices]\na = 1\n", 2, "a device id, or a table"),
            ("[profile.x.devices]\na = { modul = \"b\" }\n", 2, "no key 'modul'"),
            ("[profile.x]\n[profile.x]\n", 2, "duplicate key"),
            ("[profile\n", 1, ""),
        ] {
            match parse(text) {
                Err(error @ Error::File { line: Some(at), .. }) => {
                    assert_eq!(at, line, "{text}: {error}");
                    let problem = format!("{error} {:?}", error.causes());
                    assert!(problem.contains(part) && !problem.contains("31337"), "{text}: {problem}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(parse("default = \"x\""), Err(Error::UnknownProfile { .. })));
    }

    #[test]
    fn hints_name_the_most_similar_key() {
        for (text, hint) in [
            ("[profile.x]\nhost = []\n", "did you mean 'hosts'?"),
            ("[profile.x]\nconect-timeout = 1\n", "did you mean 'connect-timeout'?"),
            ("[profile.x]\nca_file = \"\"\n", "did you mean 'ca-file'?"),
            ("[profile.x]\nx`, expected `y = 1\n", HINT),
            ("[profile.x]\n\"`, expected one of `\" = 1\n", "the keys here are connection-string, "),
            ("[profile.x.devices]\na = { modul = \"b\" }\n", "did you mean 'module'?"),
            ("[profil.x]\n", "did you mean 'profile'?"),
        ] {
            let said = parse(text).unwrap_err().hint().unwrap();
            assert!(said.starts_with(hint), "{text}: {said}");
        }
    }

    #[test]
    fn reads_ports_and_commands() {
        let profiles = parse(
            r#"
[profile.x]
connection-string-command = "pass 'show' iot/x"
token-command = { shell = "a | b" }
ports = { 2222 = "hmi" }
[profile.y]
connection-string-command = ["op", "read", "op://a b"]
"#,
        );
        let profiles = profiles.unwrap();
        let x = &profiles.all["x"];
        let words = |words: &[&str]| CommandLine::Words(words.iter().map(|&word| word.into()).collect());
        assert_eq!(x.connection_string_command, Some(words(&["pass", "show", "iot/x"])));
        assert_eq!(x.token_command, Some(CommandLine::Shell("a | b".into())));
        assert_eq!(profiles.all["y"].connection_string_command, Some(words(&["op", "read", "op://a b"])));
        assert_eq!([22, 2222, 80].map(|port| x.stream(port)), ["ssh", "hmi", "tcp-80"]);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.toml");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (mode, refused) in [(0o700, false), (0o755, false), (0o1777, false), (0o777, true), (0o757, true)]
        {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            match Profiles::read(&path) {
                Ok(_) => assert!(!refused, "{mode:o}"),
                Err(error) => {
                    assert!(refused, "{mode:o}: {error}");
                    let fix = format!("chmod go-w '{}'", directory.path().display());
                    assert_eq!(error.hint(), Some(fix));
                }
            }
        }
    }

    #[test]
    fn a_file_with_a_secret_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.toml");
        for (text, secret) in [
            ("[profile.x]\nconnection-string = \"x\"\n", true),
            ("[profile.x]\nproxy = \"http://me:secret@proxy\"\n", true),
            ("[profile.x]\nconnection-string-env = \"X\"\nproxy = \"http://me@proxy\"\n", false),
        ] {
            std::fs::write(&path, text).unwrap();
            for (mode, open, changeable) in [
                (0o600, false, false),
                (0o400, false, false),
                (0o640, true, false),
                (0o604, true, false),
                (0o602, true, true),
            ] {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
                let result = Profiles::read(&path);
                let refused = (open && secret) || changeable;
                assert_eq!(
                    matches!(result, Err(Error::Permissions(_))),
                    refused,
                    "{mode:o} {text}: {result:?}"
                );
                // Editing refuses the same files.
                let edited = super::super::Editor::open(&path);
                assert_eq!(
                    matches!(edited, Err(Error::Permissions(_))),
                    refused,
                    "{mode:o} {text}: {edited:?}"
                );
            }
        }
        let missing = Profiles::read(&directory.path().join("none.toml"));
        assert!(matches!(missing, Err(Error::NoProfile { .. })));
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&format!("[profile.x]\n{text}"));
        }

        #[test]
        fn parse_never_panics_on_toml(
            section in "(profile(\\.x(\\.(ports|devices))?)?|[a-z]{1,3})",
            key in "(hosts|default|connection-string(-file|-env|-command|-credential)?|hub|token-command|ports|devices|proxy|22|[a-z\"`'-]{1,6})",
            value in "(\\PC{0,12}|\"\\PC{0,12}\"|-?[0-9]{1,20}|\\[\"\\PC{0,4}\",? *[0-9]?\\]|\\{ ?[a-z]{1,6} = \"?[a-z0-9]{0,4}\"? ?\\}|true|1979-05-27|nan)",
        ) {
            let text = format!("[{section}]\n{key} = {value}\n");
            if let Err(error) = parse(&text) {
                let _ = error.report();
            }
        }
    }
}
