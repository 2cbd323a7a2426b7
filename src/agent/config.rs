//! The agent's configuration, from its file or from options.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::target::{Address, Target};
use crate::error::{Error, Result};
use crate::iothub::{ConnectionString, HubAddress, Identity, Key, Malformed};
use crate::profile::{Seconds, SecretText, check_secret_file, read_toml};
use crate::secret::Secret;

/// How long a token of ours is good: an hour, as every SDK has it [S].
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// How the agent talks MQTT.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Over a WebSocket on 443, which company networks let out.
    #[default]
    WebSocket,
    /// Over TLS on 8883.
    Mqtt,
}

/// Everything the agent goes by.
#[derive(Clone, Debug)]
pub struct Config {
    pub hub: HubAddress,
    /// Where to connect, if not to the hub itself.
    pub gateway: Option<HubAddress>,
    pub identity: Identity,
    pub(super) key: Key,
    pub transport: Transport,
    pub(super) mqtt_port: u16,
    pub(super) token_life: Duration,
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL.
    pub proxy: Option<Secret>,
    pub targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    connection_string: Option<SecretText>,
    connection_string_file: Option<PathBuf>,
    #[serde(default)]
    transport: Transport,
    /// Where MQTT over TLS is, if not on 8883.
    mqtt_port: Option<u16>,
    /// How long a token is good before the agent renews it.
    token_life: Option<Seconds>,
    ca_file: Option<PathBuf>,
    proxy: Option<SecretText>,
    #[serde(default)]
    target: Vec<TargetEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TargetEntry {
    stream: String,
    connect: Option<String>,
    command: Option<Vec<String>>,
}

impl Config {
    /// Reads the configuration file. Relative paths in it start where it is.
    ///
    /// # Errors
    /// What is wrong with it, with the line where there is one; never a secret.
    pub fn read(path: &Path) -> Result<Self> {
        let document: Document =
            read_toml(path, "README.md shows every key an agent's configuration may have")?;
        let wrong = |problem: String, hint: &str| Error::File {
            path: path.to_owned(),
            line: None,
            problem,
            hint: hint.into(),
        };
        let relative = |file: &Path| path.parent().unwrap_or(Path::new("")).join(file);
        let (source, text) = match (document.connection_string, document.connection_string_file) {
            (Some(text), None) => (path.display().to_string(), text.0),
            (None, Some(file)) => read_connection_string(&relative(&file))?,
            _ => {
                return Err(wrong(
                    "it has no connection-string, or more than one".into(),
                    "give it one of connection-string and connection-string-file",
                ));
            }
        };
        let targets = document.target.into_iter().map(|entry| {
            let address = match (entry.connect, entry.command) {
                (Some(connect), None) => Address::parse(&connect),
                (None, Some(words)) if words.first().is_some_and(|word| !word.is_empty()) => {
                    Ok(Address::Command(words))
                }
                _ => Err("it needs one of connect = \"host:port\" and command = [\"program\", …]".into()),
            };
            let named = |problem| wrong(format!("target '{}': {problem}", entry.stream), "");
            Ok(Target { address: address.map_err(named)?, stream: entry.stream })
        });
        let targets = targets.collect::<Result<Vec<_>>>()?;
        if targets.is_empty() {
            return Err(wrong(
                "it has no [[target]], and would reject every stream".into(),
                "add [[target]] with stream = \"ssh\" and connect = \"127.0.0.1:22\"",
            ));
        }
        Ok(Self {
            transport: document.transport,
            mqtt_port: document.mqtt_port.unwrap_or(8883),
            token_life: document.token_life.map_or(TOKEN_LIFE, |life| life.0.max(Duration::from_secs(1))),
            ca_file: document.ca_file.as_deref().map(relative),
            proxy: document.proxy.map(|url| url.0),
            ..Self::new(&source, &text, targets)?
        })
    }

    /// A configuration without a file: the device's connection string from a file, and targets as `STREAM=HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn from_options(connection_string_file: &Path, targets: &[String]) -> Result<Self> {
        let (source, text) = read_connection_string(connection_string_file)?;
        let parse = |text: &String| {
            let wrong = |problem: String| Error::Usage {
                problem: format!("--target: {problem}"),
                hint: "write --target ssh=127.0.0.1:22".into(),
            };
            let (stream, address) = text
                .split_once('=')
                .filter(|(stream, _)| !stream.is_empty())
                .ok_or_else(|| wrong(format!("'{text}' is not STREAM=HOST:PORT")))?;
            Ok(Target { stream: stream.to_owned(), address: Address::parse(address).map_err(wrong)? })
        };
        let mut targets = targets.iter().map(parse).collect::<Result<Vec<_>>>()?;
        if targets.is_empty() {
            targets.push(Target { stream: "ssh".into(), address: Address::Tcp("127.0.0.1:22".into()) });
        }
        Self::new(&source, &text, targets)
    }

    /// The configuration that follows from a connection string and targets alone.
    ///
    /// # Errors
    /// What is wrong with the connection string that came from `source`.
    pub fn new(source: &str, connection_string: &Secret, targets: Vec<Target>) -> Result<Self> {
        let unusable = |problem: Malformed| Error::Credential {
            source: source.to_owned(),
            problem: problem.0,
            hint: "a device's connection string has the form HostName=…;DeviceId=…;SharedAccessKey=…".into(),
        };
        let parsed = ConnectionString::parse(connection_string.expose()).map_err(unusable)?;
        let identity = parsed.identity.ok_or_else(|| {
            unusable(Malformed("it is a policy's connection string, and an agent needs a device's".into()))
        })?;
        if matches!(parsed.key, Key::Certificate) {
            return Err(unusable(Malformed("certificates are not supported yet".into())));
        }
        Ok(Self {
            hub: parsed.hub,
            gateway: parsed.gateway,
            identity,
            key: parsed.key,
            transport: Transport::default(),
            mqtt_port: 8883,
            token_life: TOKEN_LIFE,
            ca_file: None,
            proxy: None,
            targets,
        })
    }

    /// The target of a stream's name.
    pub(super) fn target(&self, stream: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.stream == stream)
    }
}

/// The text of a connection string file, and what it is called in messages.
fn read_connection_string(path: &Path) -> Result<(String, Secret)> {
    let source = format!("file {}", path.display());
    let unreadable = |error: std::io::Error| Error::Credential {
        source: source.clone(),
        problem: error.to_string(),
        hint: "it holds the device's connection string, on one line".into(),
    };
    let mut file = File::open(path).map_err(unreadable)?;
    check_secret_file(path, &file)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok((source, Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const DEVICE: &str = "HostName=localhost:8443;DeviceId=dev-1;SharedAccessKey=c2VjcmV0";

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        (directory, path)
    }

    #[test]
    fn reads_the_documented_file() {
        let (_directory, path) = written(&format!(
            r#"
connection-string = "{DEVICE}"
transport = "mqtt"
mqtt-port = 18883
ca-file = "ca.pem"

[[target]]
stream = "ssh"
connect = "127.0.0.1:22"

[[target]]
stream = "console"
command = ["/usr/sbin/sshd", "-i"]
"#
        ));
        let config = Config::read(&path).unwrap();
        assert_eq!((config.transport, config.mqtt_port), (Transport::Mqtt, 18_883));
        assert_eq!(config.ca_file, Some(path.with_file_name("ca.pem")));
        assert_eq!(config.target("ssh").unwrap().address, Address::Tcp("127.0.0.1:22".into()));
        assert!(
            matches!(&config.target("console").unwrap().address, Address::Command(words) if words.len() == 2)
        );
        assert!(config.target("other").is_none());
        assert!(!format!("{config:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "no connection-string"),
            ("connection-string = \"x\"", "no [[target]]"),
            (
                "connection-string = \"HostName=h;SharedAccessKeyName=service;SharedAccessKey=AAAA\"\n[[target]]\nstream=\"a\"\nconnect=\"b:1\"",
                "policy's",
            ),
            ("conection-string = \"x\"", "unknown field `conection-string`"),
            ("[[target]]\nstream = \"a\"\nconnect = \"b\"\n", "no connection-string"),
            ("connection-string = \"x\"\n[[target]]\nstream = \"a\"\nconnect = \"b\"\n", "'b' is neither"),
            ("connection-string = \"x\"\n[[target]]\nstream = \"a\"\n", "needs one of connect"),
            ("transport = \"carrier-pigeon\"", "unknown variant"),
        ] {
            let (_directory, path) = written(text);
            let problem = Config::read(&path).unwrap_err().to_string();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn options_make_a_configuration() {
        let (_directory, path) = written(DEVICE);
        let config = Config::from_options(&path, &[]).unwrap();
        assert_eq!(config.target("ssh").unwrap().address, Address::Tcp("127.0.0.1:22".into()));
        let config = Config::from_options(&path, &["echo=[::1]:7".into(), "db=/run/db.sock".into()]).unwrap();
        assert_eq!(config.targets.len(), 2);
        for wrong in ["ssh", "=a:1", "ssh=22"] {
            assert!(
                matches!(Config::from_options(&path, &[wrong.into()]), Err(Error::Usage { .. })),
                "{wrong}"
            );
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Config::from_options(&path, &[]), Err(Error::Permissions { .. })));
    }
}
