//! The source of a credential: exactly one of the keys of a profile or of the agent's configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use super::CommandLine;
use super::command::FAILED;
use super::permissions::{Guarded, read_secret};
use crate::error::{Error, Exposure, Problem, Result};
use crate::secret::Secret;

/// The variable with the directory of a systemd unit's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The keys that name the source of a credential: a connection string, or the key of `[provisioning]`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keys<'a> {
    pub connection_string: Option<&'a Secret>,
    pub connection_string_file: Option<&'a Path>,
    pub connection_string_env: Option<&'a str>,
    pub connection_string_command: Option<&'a CommandLine>,
    /// The name of a file in systemd's `$CREDENTIALS_DIRECTORY`.
    pub connection_string_credential: Option<&'a str>,
    /// The services of `token_command`'s tokens, by their keys.
    pub services: [(&'static str, Option<&'a str>); 3],
    /// Prints an Entra ID token.
    pub token_command: Option<&'a CommandLine>,
    /// Whether `token_command` may be for a management service beside another source.
    pub is_managed: bool,
}

impl Keys<'_> {
    /// Whether no key is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.connection_string.is_none()
            && self.connection_string_file.is_none()
            && self.connection_string_env.is_none()
            && self.connection_string_command.is_none()
            && self.connection_string_credential.is_none()
            && self.services.iter().all(|(_, service)| service.is_none())
            && self.token_command.is_none()
    }
}

/// The owner of the keys, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// A profile, by its name.
    Profile(&'a str),
    /// The agent's configuration file.
    Agent(&'a Path),
    /// The table `[relay]` of the agent's configuration file.
    AgentRelay(&'a Path),
    /// The table `[provisioning]` of the agent's configuration file, which has a key in place of a connection string.
    AgentProvisioning(&'a Path),
    /// The command line.
    Options,
}

impl Owner<'_> {
    /// Whether it is the agent's configuration file, which names no systemd credentials.
    fn is_agent(self) -> bool {
        matches!(self, Self::Agent(_) | Self::AgentRelay(_) | Self::AgentProvisioning(_))
    }
}

impl<'a> From<&'a str> for Owner<'a> {
    fn from(profile: &'a str) -> Self {
        Self::Profile(profile)
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(name) => write!(f, "profile '{name}'"),
            Self::Agent(path) => path.display().fmt(f),
            Self::AgentRelay(path) => write!(f, "[relay] of {}", path.display()),
            Self::AgentProvisioning(path) => write!(f, "[provisioning] of {}", path.display()),
            Self::Options => f.write_str("the command line"),
        }
    }
}

/// The source of a credential.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// The configuration file itself.
    Inline(&'a Secret),
    /// Another file.
    File(PathBuf),
    /// An environment variable.
    Environment(&'a str),
    /// The output of a command.
    Command(&'a CommandLine),
    /// A file in systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(&'a str),
    /// Entra ID tokens for a service.
    Token {
        /// The key that names the service.
        key: &'static str,
        /// The service.
        service: &'a str,
        /// Prints a token.
        command: &'a CommandLine,
    },
}

impl<'a> Source<'a> {
    /// The source that the `keys` of `owner` name. Relative paths start at `directory`.
    ///
    /// # Errors
    /// Returns [`Error::Credential`] if the keys name no source, several, or an incomplete one.
    pub(crate) fn of<'b>(
        owner: impl Into<Owner<'b>>,
        keys: impl Into<Keys<'a>>,
        directory: &Path,
    ) -> Result<Self> {
        let (owner, keys) = (owner.into(), keys.into());
        let wrong = |problem: &str, hint: &str| Error::credential(owner.to_string(), problem, hint);
        let services = keys.services.iter().filter_map(|(key, service)| Some((*key, (*service)?)));
        let mut services: Vec<(&'static str, &str)> = services.collect();
        let token = match (services.pop(), keys.token_command) {
            (Some((key, service)), Some(command)) => Some(Self::Token { key, service, command }),
            (None, None) => None,
            (None, Some(_)) if keys.is_managed => None,
            (Some((key, _)), None) => {
                let problem = format!("it has {key} but no token-command");
                return Err(wrong(&problem, "set both for Entra ID, or neither"));
            }
            (None, Some(_)) => {
                let names: Vec<&str> =
                    keys.services.iter().map(|(key, _)| *key).filter(|key| !key.is_empty()).collect();
                let problem = format!("it has token-command but no {}", names.join(", "));
                return Err(wrong(&problem, "set both for Entra ID, or neither"));
            }
        };
        if let (Some((other, _)), Some(Self::Token { key, .. })) = (services.pop(), &token) {
            return Err(wrong(&format!("it has both {other} and {key}"), "keep one of them"));
        }
        let mut sources = [
            keys.connection_string.map(Self::Inline),
            keys.connection_string_file.map(|path| Self::File(directory.join(path))),
            keys.connection_string_env.map(Self::Environment),
            keys.connection_string_command.map(Self::Command),
            keys.connection_string_credential.map(Self::Credential),
            token,
        ]
        .into_iter()
        .flatten();
        let source = sources.next().ok_or_else(|| match owner {
            Owner::Profile(_) => wrong(
                "none is set",
                "set connection-string, one of connection-string-file, -env, -command and -credential, or token-command with hub, relay or arc",
            ),
            Owner::AgentProvisioning(_) => wrong(
                "no key is set",
                "set key-file, or one of key, key-env and key-command, or certificate with private-key",
            ),
            Owner::Agent(_) | Owner::AgentRelay(_) | Owner::Options => wrong(
                "no connection-string is set",
                "set connection-string, or one of connection-string-file, -env and -command, or load a systemd \
                 credential named connection-string",
            ),
        })?;
        match sources.next() {
            None => Ok(source),
            Some(other) => Err(wrong(
                &format!("it has both {} and {}", source.name(owner), other.name(owner)),
                "keep one of them",
            )),
        }
    }

    /// The key of this source in a profile.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Inline(_) => "connection-string",
            Self::File(_) => "connection-string-file",
            Self::Environment(_) => "connection-string-env",
            Self::Command(_) => "connection-string-command",
            Self::Credential(_) => "connection-string-credential",
            Self::Token { .. } => "token-command",
        }
    }

    /// The owner's name for the key. The agent uses a systemd credential without a key.
    pub(crate) fn name(&self, owner: Owner<'_>) -> String {
        match (self, owner) {
            (Self::Credential(name), owner) if owner.is_agent() => {
                format!("the systemd credential '{name}'")
            }
            (_, Owner::Options) => format!("--{}", self.key()),
            (_, Owner::AgentProvisioning(_)) => self.key().replace("connection-string", "key"),
            _ => self.key().into(),
        }
    }

    /// The key and its owner.
    fn location(&self, owner: Owner<'_>) -> String {
        match owner {
            Owner::Options => self.name(owner),
            _ => format!("{} in {owner}", self.name(owner)),
        }
    }

    /// A description for messages.
    pub(crate) fn describe<'b>(&self, owner: impl Into<Owner<'b>>) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Environment(variable) => format!("environment variable {variable}"),
            Self::Credential(name) => format!("systemd credential '{name}'"),
            Self::Inline(_) | Self::Command(_) | Self::Token { .. } => self.location(owner.into()),
        }
    }

    /// Reads the credential; for [`Source::Token`], the output of its command.
    ///
    /// # Errors
    /// Returns why the source cannot be read, and never its content.
    pub(crate) fn read<'b>(&self, owner: impl Into<Owner<'b>>) -> Result<Secret> {
        self.text(owner.into(), |file, _| file.strictly())
    }

    /// Like [`Self::read`], with the checks of [`Guarded::leniently`].
    ///
    /// # Errors
    /// Returns the errors of [`Self::read`].
    pub(crate) fn read_leniently(&self, owner: Owner<'_>, warnings: &mut Vec<Exposure>) -> Result<Secret> {
        self.text(owner, |file, path| file.leniently(path, warnings))
    }

    /// Reads the credential; `checked` decides whether a file's content may be used.
    fn text(
        &self,
        owner: Owner<'_>,
        checked: impl FnOnce(Guarded<Secret>, &Path) -> Result<Secret>,
    ) -> Result<Secret> {
        let unusable = |problem: Problem| {
            let hint = match self {
                Self::Command(_) | Self::Token { .. } => FAILED.into(),
                Self::Credential(_) if owner.is_agent() => {
                    "LoadCredential= of the service's unit names it".into()
                }
                _ => format!("{} names it", self.location(owner)),
            };
            Error::credential(self.describe(owner), problem, hint)
        };
        let path = match self {
            Self::Inline(text) => return Ok((*text).clone()),
            Self::Environment(variable) => {
                return match std::env::var(variable) {
                    Ok(text) => Ok(Secret::new(text)),
                    Err(std::env::VarError::NotPresent) => Err(unusable("it is not set".into())),
                    Err(std::env::VarError::NotUnicode(_)) => Err(unusable("it is not UTF-8".into())),
                };
            }
            Self::Command(command) => return command.secret().map_err(unusable),
            Self::Token { command, .. } => return command.output().map_err(unusable),
            Self::File(path) => path.clone(),
            Self::Credential(name) => {
                let directory = std::env::var_os(CREDENTIALS_DIRECTORY).ok_or_else(|| {
                    let problem = format!(
                        "{CREDENTIALS_DIRECTORY} is not set: systemd sets it for a unit with LoadCredential="
                    );
                    unusable(problem.into())
                })?;
                if Path::new(name).file_name() != Some(name.as_ref()) {
                    return Err(unusable("its name is not a file name".into()));
                }
                Path::new(&directory).join(name)
            }
        };
        checked(read_secret(&path).map_err(|error| unusable(error.into()))?, &path)
    }
}

/// The file of the systemd credential `name`, if systemd provides it.
pub(crate) fn systemd_credential(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os(CREDENTIALS_DIRECTORY)?).join(name);
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_key_names_the_source() {
        let (secret, command) = (Secret::new("hunter2"), CommandLine::Shell("x".into()));
        let none = Keys::default();
        let one = Keys { connection_string: Some(&secret), ..none };
        let two = Keys { connection_string_env: Some("X"), ..one };
        let services = [("hub", Some("h")), ("relay", None), ("arc", None)];
        let half = Keys { services, ..none };
        let other_half = Keys { token_command: Some(&command), ..none };
        let token = Keys { services, ..other_half };
        let several =
            Keys { services: [("hub", Some("h")), ("relay", Some("r")), ("arc", None)], ..other_half };
        let unnamed = Keys { services: [("hub", None), ("relay", None), ("arc", None)], ..other_half };
        let managed = Keys { is_managed: true, token_command: Some(&command), ..one };
        let systemd = Keys { connection_string_credential: Some("c"), ..none };
        let two_of_agent = Keys { connection_string_credential: Some("c"), ..one };
        let (profile, agent) = (Owner::Profile("p"), Owner::Agent(Path::new("/a.toml")));
        let key = |owner: Owner<'_>, keys: Keys<'_>| {
            let source = Source::of(owner, keys, Path::new("/d"));
            source.map(|source| source.key()).map_err(|error| error.to_string())
        };
        assert_eq!(key(profile, one), Ok("connection-string"));
        assert_eq!(key(profile, token), Ok("token-command"));
        assert_eq!(key(profile, managed), Ok("connection-string"));
        assert_eq!(key(agent, systemd), Ok("connection-string-credential"));
        for (owner, keys, problem) in [
            (profile, none, "profile 'p': none is set"),
            (profile, two, "it has both connection-string and connection-string-env"),
            (profile, half, "no token-command"),
            (profile, unnamed, "it has token-command but no hub, relay, arc"),
            (profile, several, "it has both hub and relay"),
            (agent, none, "/a.toml: no connection-string is set"),
            (agent, two_of_agent, "it has both connection-string and the systemd credential 'c'"),
        ] {
            let said = key(owner, keys).unwrap_err();
            assert!(said.contains(problem) && said.contains(&owner.to_string()), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn messages_name_a_source_as_its_owner_does() {
        let (file, inline) = (Source::File("/no/such/file".into()), Secret::new(""));
        let hint = |owner| file.read(owner).unwrap_err().hint().unwrap();
        assert_eq!(hint(Owner::Profile("p")), "connection-string-file in profile 'p' names it");
        assert_eq!(hint(Owner::Agent(Path::new("/a.toml"))), "connection-string-file in /a.toml names it");
        assert_eq!(hint(Owner::Options), "--connection-string-file names it");
        let inline = Source::Inline(&inline);
        assert_eq!(inline.describe(Owner::Agent(Path::new("/a.toml"))), "connection-string in /a.toml");
    }

    #[test]
    fn reads_relative_files_and_refuses_long_ones() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hub.conn");
        std::fs::write(&file, "x".repeat(100_000)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let keys = Keys { connection_string_file: Some(Path::new("hub.conn")), ..Keys::default() };
        let source = Source::of("p", keys, directory.path()).unwrap();
        assert_eq!(source.read("p").unwrap().expose().len(), 100_000);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(source.read("p"), Err(Error::Permissions(_))));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        // A longer file is an error: a part of it may be another secret.
        std::fs::write(&file, "x".repeat(2_000_000)).unwrap();
        assert!(source.read("p").unwrap_err().to_string().contains("it is longer than 1048576 bytes"));
    }
}
