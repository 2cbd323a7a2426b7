//! Where a profile's credential comes from: exactly one of the places it may name.

use std::path::{Path, PathBuf};

use super::CommandLine;
use super::permissions::read_secret;
use crate::error::{Error, Result};
use crate::profile::Profile;
use crate::secret::Secret;

/// The one place a profile names.
#[derive(Debug)]
pub enum Source<'a> {
    Inline(&'a Secret),
    File(PathBuf),
    Environment(&'a str),
    Command(&'a CommandLine),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(&'a str),
    /// Entra ID tokens for a hub.
    Token {
        hub: &'a str,
        command: &'a CommandLine,
    },
}

impl<'a> Source<'a> {
    /// The source that `profile`, called `name`, has. Relative paths start at `directory`.
    ///
    /// # Errors
    /// When it has none, more than one, or half of one.
    pub fn of(name: &str, profile: &'a Profile, directory: &Path) -> Result<Self> {
        let wrong = |problem: &str, hint: &str| Error::Credential {
            source: format!("profile '{name}'"),
            problem: problem.into(),
            hint: hint.into(),
        };
        let token = match (profile.hub.as_deref(), &profile.token_command) {
            (Some(hub), Some(command)) => Some(Self::Token { hub, command }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(wrong("it has a hub and no token-command", "the two go together, for Entra ID"));
            }
            (None, Some(_)) => {
                return Err(wrong("it has a token-command and no hub", "the two go together, for Entra ID"));
            }
        };
        let mut sources = [
            profile.connection_string.as_ref().map(|text| Self::Inline(&text.0)),
            profile.connection_string_file.as_ref().map(|path| Self::File(directory.join(path))),
            profile.connection_string_env.as_deref().map(Self::Environment),
            profile.connection_string_command.as_ref().map(Self::Command),
            profile.connection_string_credential.as_deref().map(Self::Credential),
            token,
        ]
        .into_iter()
        .flatten();
        let source = sources.next().ok_or_else(|| {
            wrong(
                "it has none",
                "give it connection-string, or connection-string- with file, env, command or credential, or hub and token-command",
            )
        })?;
        match sources.next() {
            None => Ok(source),
            Some(other) => {
                Err(wrong(&format!("it has both {} and {}", source.key(), other.key()), "keep one of them"))
            }
        }
    }

    /// The key of the profile file that names it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Inline(_) => "connection-string",
            Self::File(_) => "connection-string-file",
            Self::Environment(_) => "connection-string-env",
            Self::Command(_) => "connection-string-command",
            Self::Credential(_) => "connection-string-credential",
            Self::Token { .. } => "token-command",
        }
    }

    /// What messages call it.
    pub(crate) fn describe(&self, profile: &str) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Environment(variable) => format!("environment variable {variable}"),
            Self::Credential(name) => format!("systemd credential '{name}'"),
            Self::Inline(_) | Self::Command(_) | Self::Token { .. } => {
                format!("{} in profile '{profile}'", self.key())
            }
        }
    }

    /// The text that the source holds; for [`Source::Token`], what its command prints.
    ///
    /// # Errors
    /// Why it cannot be had; never what it holds.
    pub(crate) fn read(&self, profile: &str) -> Result<Secret> {
        let unusable = |problem: String| Error::Credential {
            source: self.describe(profile),
            problem,
            hint: match self {
                Self::Inline(_) => String::new(),
                Self::Command(_) | Self::Token { .. } => {
                    "run the command in a terminal to see what it does; it gets no stdin here".into()
                }
                _ => format!("{} in profile '{profile}' names it", self.key()),
            },
        };
        match self {
            Self::Inline(text) => Ok((*text).clone()),
            Self::File(path) => read_secret(path).map_err(|error| unusable(error.to_string()))?.strictly(),
            Self::Environment(variable) => match std::env::var(variable) {
                Ok(text) => Ok(Secret::new(text)),
                Err(std::env::VarError::NotPresent) => Err(unusable("it is not set".into())),
                Err(std::env::VarError::NotUnicode(_)) => Err(unusable("it holds no text".into())),
            },
            Self::Command(command) => command.secret().map_err(unusable),
            Self::Token { command, .. } => command.output().map_err(unusable),
            Self::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    unusable("CREDENTIALS_DIRECTORY is not set, as systemd sets it for a unit with LoadCredential=".into())
                })?;
                if Path::new(name).file_name() != Some(name.as_ref()) {
                    return Err(unusable("its name is not a file's".into()));
                }
                let path = Path::new(&directory).join(name);
                read_secret(&path).map_err(|error| unusable(error.to_string()))?.strictly()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretText;

    #[test]
    fn a_profile_has_exactly_one_source() {
        let inline = Some(SecretText(Secret::new("hunter2")));
        let command = || Some(CommandLine::Shell("x".into()));
        let none = Profile::default();
        let one = Profile { connection_string: inline.clone(), ..none.clone() };
        let two = Profile { connection_string_env: Some("X".into()), ..one.clone() };
        let half = Profile { hub: Some("h".into()), ..none.clone() };
        let other_half = Profile { token_command: command(), ..none.clone() };
        let token = Profile { hub: Some("h".into()), token_command: command(), ..none.clone() };
        let key = |profile: &Profile| {
            let source = Source::of("p", profile, Path::new("/d"));
            source.map(|source| source.key()).map_err(|error| error.to_string())
        };
        assert_eq!(key(&one), Ok("connection-string"));
        assert_eq!(key(&token), Ok("token-command"));
        for (profile, problem) in [
            (&none, "it has none"),
            (&two, "it has both connection-string and connection-string-env"),
            (&half, "no token-command"),
            (&other_half, "no hub"),
        ] {
            let said = key(profile).unwrap_err();
            assert!(said.contains(problem) && said.contains("profile 'p'"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn files_are_found_from_the_profile_file_and_bounded() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hub.conn");
        std::fs::write(&file, "x".repeat(100_000)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let profile = Profile { connection_string_file: Some("hub.conn".into()), ..Profile::default() };
        let source = Source::of("p", &profile, directory.path()).unwrap();
        assert_eq!(source.read("p").unwrap().expose().len(), 100_000);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(source.read("p"), Err(Error::Permissions(_))));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        // What is longer is not cut to what may be another secret.
        std::fs::write(&file, "x".repeat(2_000_000)).unwrap();
        assert!(source.read("p").unwrap_err().to_string().contains("it is longer than 1048576 bytes"));
    }
}
