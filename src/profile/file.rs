//! Finding and reading the profile file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::permissions::check_secret_file;
use super::schema::{Document, Profile};
use crate::error::{Error, Result};

/// The profiles of one file.
#[derive(Debug)]
pub struct Profiles {
    pub path: PathBuf,
    pub default: Option<String>,
    pub all: BTreeMap<String, Profile>,
}

/// `iotstream/profiles.toml` in the user's configuration directory.
pub fn default_path() -> PathBuf {
    let directories = directories::ProjectDirs::from("", "", "iotstream");
    directories.map_or_else(|| "profiles.toml".into(), |found| found.config_dir().join("profiles.toml"))
}

impl Profiles {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When there is none, others can get at it, or it says what it may not; with the line.
    pub fn read(path: &Path) -> Result<Self> {
        match read_toml(path, HINT) {
            Ok(document) => Self::new(path, document),
            Err(Error::File { line: None, .. }) if !path.exists() => {
                Err(Error::NoProfile { path: path.to_owned() })
            }
            Err(error) => Err(error),
        }
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
        Ok(Self { path: path.to_owned(), default: document.default, all: document.profile })
    }

    /// A path written in the file: relative ones start where the file is.
    pub fn relative(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

const HINT: &str = "README.md shows every key a profile file may have";

/// Reads a TOML file that holds secrets.
///
/// # Errors
/// When it cannot be read, others can get at it, or it says what it may not; with the line, and `hint`.
pub fn read_toml<T: DeserializeOwned>(path: &Path, hint: &str) -> Result<T> {
    let unreadable = |error: std::io::Error| Error::File {
        path: path.to_owned(),
        line: None,
        problem: error.to_string(),
        hint: "it must be there, and readable by you and by nobody else".into(),
    };
    let mut file = File::open(path).map_err(unreadable)?;
    check_secret_file(path, &file)?;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unreadable)?;
    parse_toml(path, &text, hint)
}

/// Reads the text of a TOML file.
///
/// # Errors
/// What is wrong with it and on which line, without the line itself.
pub fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str, hint: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| Error::File {
        path: path.to_owned(),
        line: error.span().map(|span| line_of(text, span.start)),
        problem: error.message().lines().next().unwrap_or_default().to_owned(),
        hint: hint.into(),
    })
}

/// The line of a byte's position, from 1.
fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|&&b| b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Profiles> {
        let path = Path::new("/p/profiles.toml");
        Profiles::new(path, parse_toml(path, text, HINT)?)
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
    fn errors_name_the_line_and_the_key_and_no_secret() {
        for (text, line, part) in [
            ("default = \"x\"\n\n[profile.x]\nhost = []\n", 4, "unknown field `host`"),
            ("[profile.x]\nhosts = \"*\"\n", 2, "invalid type"),
            ("[profile.x]\nconnect-timeout = \"soon\"\n", 2, "'soon' is not a duration"),
            ("[profile.x]\nconnect-timeout = -1\n", 2, "'-1' is not a duration"),
            ("[profile.x]\nhosts = []\nhosts = []\n", 3, "duplicate key"),
            ("[profile.x]\nconnection-string = 31337\n", 2, "a text in quotes is expected"),
            ("[profile.x.devices]\na = { modul = \"b\" }\n", 2, ""),
            ("[profile\n", 1, ""),
        ] {
            match parse(text) {
                Err(Error::File { line: Some(at), problem, .. }) => {
                    assert_eq!(at, line, "{text}: {problem}");
                    assert!(problem.contains(part) && !problem.contains("31337"), "{text}: {problem}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(parse("default = \"x\""), Err(Error::UnknownProfile { .. })));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.toml");
        std::fs::write(&path, "").unwrap();
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let result = Profiles::read(&path);
            assert_eq!(matches!(result, Err(Error::Permissions { .. })), refused, "{mode:o}: {result:?}");
        }
        let missing = Profiles::read(&directory.path().join("none.toml"));
        assert!(matches!(missing, Err(Error::NoProfile { .. })));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&format!("[profile.x]\n{text}"));
        }
    }
}
