//! The agent's configuration, from a file or from options.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::approval::Approve;
use super::builtin::Builtin;
use super::host_keys::selection;
use super::listeners::{listener, listeners};
use super::metrics::Destination;
use super::schema::{ApproveEntry, ApproveWord, Document, TargetEntry};
use super::server::Server;
use super::target::{Address, Target};
use super::traffic::Allowance;
use crate::backend::{self, DeviceAccess, DeviceSettings, Listener};
use crate::config::{Owner, Seconds, Source, WatchedFiles, line_of, read_toml};
use crate::error::{Error, Exposure, Result};
use crate::platform::local_socket;
use crate::secret::Secret;
use crate::text::pattern;
use crate::tunnel::Keepalive;

/// The default limit of streams: twice what an IoT Hub carries at a time \[D].
const MAX_SESSIONS: usize = 100;
/// The default time limit of an approval, below a caller's response timeout.
const APPROVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The default time that streams may continue when the agent is stopped.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RESTART_TIMEOUT: Duration = Duration::from_hours(24);

/// All settings of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// One for each service.
    pub(crate) listeners: Vec<Arc<dyn Listener>>,
    pub(crate) stream_keepalive: Option<Keepalive>,
    /// Certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// A proxy's URL.
    pub proxy: Option<Secret>,
    pub(crate) targets: Vec<Target>,
    pub(crate) max_sessions: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) allowance: Allowance,
    pub(crate) approve_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    /// For the open streams of an agent that has been replaced.
    pub(crate) restart_timeout: Duration,
    pub(crate) audit_log: Option<PathBuf>,
    /// The path of the control socket; `None` for an agent without one.
    pub control: Option<PathBuf>,
    /// Where the figures are read.
    pub(crate) metrics: Option<Destination>,
    /// The targets that are asked for their host keys, by their streams or names.
    pub(crate) host_keys: Vec<String>,
    pub(crate) warnings: Vec<Exposure>,
}

impl Config {
    /// Reads the configuration file. Relative paths in it start at its directory.
    ///
    /// # Errors
    /// Returns what is wrong with the file or the files it names, with the line if known, and never a secret.
    pub fn read(path: &Path) -> Result<Self> {
        let mut warnings = Vec::new();
        let own = WatchedFiles::of(path);
        let (text, mut document) = read_document(path, &mut warnings)?;
        let wrong = |problem: String, hint: &str| Error::file(path, problem, hint);
        let named = |stream: &str, line: usize, problem: String| Error::File {
            path: path.to_owned(),
            line: Some(line),
            problem: format!("target '{stream}': {problem}").into(),
            hint: None,
        };
        let (relay, provisioning) = (document.relay.as_ref(), document.provisioning.as_ref());
        let keys = [
            document.connection_string_env.as_deref(),
            relay.and_then(|relay| relay.connection_string_env.as_deref()),
            provisioning.and_then(|provisioning| provisioning.key_env.as_deref()),
        ];
        let targets = std::mem::take(&mut document.target).into_iter().map(|entry| {
            let line = line_of(text.expose(), entry.span().start);
            let entry = entry.into_inner();
            let stream = entry.stream.clone();
            target(entry, keys).map_err(|problem| named(&stream, line, problem))
        });
        let targets = targets.collect::<Result<Vec<_>>>()?;
        if targets.is_empty() {
            return Err(wrong(
                "it has no [[target]], and would reject every stream".into(),
                "add [[target]] with stream = \"ssh\" and connect = \"127.0.0.1:22\"",
            ));
        }
        if document.control.is_some() && !local_socket::ARE_SUPPORTED {
            return Err(wrong(
                "control: Unix sockets are not supported on Windows".into(),
                "remove the key control",
            ));
        }
        let metrics = document.metrics.as_deref().map(Destination::parse).transpose().map_err(|problem| {
            wrong(
                format!("metrics: {problem}"),
                "write metrics = \"127.0.0.1:9110\", \"/path.sock\" or \"/path.prom\"",
            )
        })?;
        let host_keys = document.host_keys.take().unwrap_or_else(|| selection::default(&targets));
        selection::check(&host_keys, &targets).map_err(|problem| {
            wrong(problem, "host-keys lists streams as their [[target]] names them, such as [\"ssh\"]")
        })?;
        let listeners = listeners(&document, path, own, &mut warnings)?;
        let relative = |file: PathBuf| path.parent().unwrap_or(Path::new("")).join(file);
        let seconds = |key: Option<Seconds>| key.map(|seconds| seconds.0);
        Ok(Self {
            stream_keepalive: document
                .stream_keepalive
                .map_or(Some(Keepalive::DEFAULT), |interval| Keepalive::every(interval.0)),
            ca_file: document.ca_file.map(relative),
            proxy: document.proxy.map(|url| url.0),
            max_sessions: document.max_sessions.unwrap_or(MAX_SESSIONS),
            idle_timeout: seconds(document.idle_timeout),
            max_duration: seconds(document.max_duration),
            allowance: Allowance { bandwidth: document.bandwidth, daily_bytes: document.daily_bytes },
            approve_timeout: seconds(document.approve_timeout).unwrap_or(APPROVE_TIMEOUT),
            stop_timeout: seconds(document.stop_timeout).unwrap_or(STOP_TIMEOUT),
            restart_timeout: seconds(document.restart_timeout).unwrap_or(RESTART_TIMEOUT),
            // `-` is stdout.
            audit_log: document
                .audit_log
                .map(|file| if file == Path::new("-") { file } else { relative(file) }),
            control: document.control.map(relative),
            metrics,
            host_keys,
            warnings,
            ..Self::with(listeners, targets)
        })
    }

    /// A configuration from options: the file of the device's connection string, which a module of IoT Edge does without,
    /// and targets as `STREAM=HOST:PORT` or `STREAM=builtin:NAME`.
    ///
    /// # Errors
    /// Returns an error if the connection string, the environment of IoT Edge or a target is invalid.
    pub fn from_options(connection_string_file: Option<&Path>, targets: &[String]) -> Result<Self> {
        let mut warnings = Vec::new();
        let listener = match connection_string_file {
            Some(file) => {
                let files = WatchedFiles::of(file);
                let source = Source::File(file.to_owned());
                let text = source.read_leniently(Owner::Options, &mut warnings)?;
                listener(source.describe(Owner::Options), text, files, &mut warnings)?
            }
            None if backend::is_iot_edge_module() => {
                backend::listener(&DeviceSettings::new(DeviceAccess::IotEdge), &mut warnings)?
            }
            None => {
                return Err(Error::usage(
                    "--target requires --connection-string-file",
                    "in a configuration file, write a [[target]]; only a module of IoT Edge needs neither file",
                ));
            }
        };
        let parse = |text: &String| {
            let wrong = |problem: String| {
                Error::usage(format!("--target: {problem}"), "write --target ssh=127.0.0.1:22")
            };
            let (stream, address) = text
                .split_once('=')
                .filter(|(stream, _)| !stream.is_empty())
                .ok_or_else(|| wrong(format!("'{text}' is not STREAM=HOST:PORT")))?;
            let address = match address.strip_prefix("builtin:").and_then(Builtin::named) {
                Some(builtin) => Address::Builtin(builtin),
                None => Address::parse(address).map_err(wrong)?,
            };
            if address.has_port_of_stream() {
                return Err(wrong("{port} requires a configuration file, where ports limits it".into()));
            }
            Ok(Target::new(stream, address))
        };
        let mut targets = targets.iter().map(parse).collect::<Result<Vec<_>>>()?;
        if targets.is_empty() {
            targets.push(Target::new("ssh", Address::Servers(vec![Server::Tcp("127.0.0.1:22".into())])));
        }
        Ok(Self { warnings, ..Self::with(vec![listener], targets) })
    }

    /// A default configuration with a connection string and targets. Errors name the connection string by `source`.
    ///
    /// # Errors
    /// Returns an error if the connection string is invalid.
    pub fn new(source: &str, connection_string: &Secret, targets: Vec<Target>) -> Result<Self> {
        let listener = listener(source, connection_string.clone(), WatchedFiles::default(), &mut Vec::new())?;
        Ok(Self::with(vec![listener], targets))
    }

    /// A default configuration with listeners and targets.
    pub fn with(listeners: Vec<Arc<dyn Listener>>, targets: Vec<Target>) -> Self {
        Self {
            listeners,
            stream_keepalive: Some(Keepalive::DEFAULT),
            ca_file: None,
            proxy: None,
            host_keys: selection::default(&targets),
            targets,
            max_sessions: MAX_SESSIONS,
            idle_timeout: None,
            max_duration: None,
            allowance: Allowance::default(),
            approve_timeout: APPROVE_TIMEOUT,
            stop_timeout: STOP_TIMEOUT,
            restart_timeout: RESTART_TIMEOUT,
            audit_log: None,
            control: None,
            metrics: None,
            warnings: Vec::new(),
        }
    }

    /// The tolerated exposures of the configuration's files.
    pub fn warnings(&self) -> &[Exposure] {
        &self.warnings
    }

    /// The targets whose host keys are reported; none if no service keeps reports.
    pub(crate) fn host_key_targets(&self) -> impl Iterator<Item = &Target> {
        let is_kept = self.listeners.iter().any(|listener| listener.keeps_reports());
        self.targets.iter().filter(move |target| {
            is_kept
                && self.host_keys.iter().any(|stream| target.is_called(stream))
                && target.may_have_host_keys()
        })
    }

    /// The name of a stream's target among those of the configuration.
    pub(crate) fn target_name(&self, stream: &str) -> Option<String> {
        self.target(stream).map(Target::name)
    }

    /// The target of a stream: the first that serves its name.
    pub(crate) fn target(&self, stream: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.serves(stream))
    }
}

const HINT: &str =
    "`man iotstream-agent.toml` shows every key, and `iotstream agent --help` how to run without a file";

/// Reads the file, which other users may read if it contains no secret. Tolerated exposures are added to `warnings`.
pub(crate) fn read_document(path: &Path, warnings: &mut Vec<Exposure>) -> Result<(Secret, Document)> {
    let mut guarded = read_toml(path, HINT, Document::holds_secret)?;
    if !guarded.content.1.holds_secret() {
        // Earlier versions did not check such a file.
        warnings.append(&mut guarded.exposures);
    }
    guarded.leniently(path, warnings)
}

/// Reads a target. `keys` are the environment variables of the device's connection strings.
fn target(entry: TargetEntry, keys: [Option<&str>; 3]) -> std::result::Result<Target, String> {
    for name in &entry.pass_environment {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("pass-environment: '{name}' cannot be a variable's name"));
        }
        if keys.contains(&Some(name)) {
            return Err(format!(
                "pass-environment: {name} holds the device's key, which only the agent may have"
            ));
        }
    }
    let is_command = |words: &[String]| words.first().is_some_and(|word| !word.is_empty());
    let address = match (entry.connect, entry.command, entry.builtin) {
        (Some(connect), None, None) => Address::Servers(connect.0),
        (None, Some(words), None) if is_command(&words) => Address::Command(words),
        (None, None, Some(builtin)) => Address::Builtin(builtin),
        _ => {
            return Err("it needs one of connect = \"host:port\", command = [\"program\", …] and \
                        builtin = \"echo\", \"discard\" or \"source\""
                .into());
        }
    };
    let approve = match entry.approve {
        ApproveEntry::Word(ApproveWord::Always) => Approve::Always,
        ApproveEntry::Word(ApproveWord::Never) => Approve::Never,
        ApproveEntry::Word(ApproveWord::Ask) => Approve::Ask { window: None },
        ApproveEntry::Table(table) => {
            let window = table.r#for.map(|window| window.0).filter(|window| !window.is_zero());
            match (table.ask, table.command) {
                (true, None) => Approve::Ask { window },
                (false, Some(words)) if is_command(&words) => Approve::Command { words, window },
                (false, Some(_)) => return Err("its approve command names no program".into()),
                _ => return Err("approve needs one of ask = true and command = [\"program\", …]".into()),
            }
        }
    };
    let TargetEntry { stream, ports, max_sessions, pass_environment, .. } = entry;
    match &ports {
        None if address.has_port_of_stream() => {
            return Err("{port} in connect requires ports, such as ports = [\"80\", \"8000-8999\"]".into());
        }
        Some(ports) if !ports.streams().any(|name| pattern::matches(&stream, &name)) => {
            return Err(format!("no stream of the ports {ports} has a name that matches '{stream}'"));
        }
        _ => {}
    }
    Ok(Target { stream, ports, address, approve, max_sessions, pass_environment })
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
        assert_eq!(
            (config.listeners[0].device(), config.listeners[0].service()),
            ("dev-1".into(), "localhost:8443".into())
        );
        let listener = format!("{:?}", config.listeners);
        assert!(listener.contains("transport: Mqtt, mqtt_port: 18883"), "{listener}");
        assert_eq!(config.ca_file, Some(path.with_file_name("ca.pem")));
        assert_eq!(config.target("ssh").unwrap().address, Address::parse("127.0.0.1:22").unwrap());
        assert!(
            matches!(&config.target("console").unwrap().address, Address::Command(words) if words.len() == 2)
        );
        assert!(config.target("other").is_none());
        assert!(!format!("{config:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn errors_name_the_problem() {
        for (text, part) in [
            ("", "no [[target]]"),
            ("[[target]]\nstream=\"a\"\nconnect=\"b:1\"", "no connection-string"),
            ("connection-string = \"x\"", "no [[target]]"),
            (
                "connection-string = \"HostName=h;SharedAccessKeyName=service;SharedAccessKey=AAAA\"\n[[target]]\nstream=\"a\"\nconnect=\"b:1\"",
                "policy's",
            ),
            ("conection-string = \"x\"", "there is no key 'conection-string'"),
            ("bandwidth = 0", "nonzero"),
            (
                "[[target]]\nstream = \"a\"\nconnect = \"b:1\"\napprove = \"maybe\"",
                "approve is \"always\", \"never\"",
            ),
            ("[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\nconnect = \"b:1\"", "needs one of connect"),
            (
                "[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\napprove = { command = [] }",
                "names no program",
            ),
            (
                "[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\napprove = { ask = true, command = [\"x\"] }",
                "needs one of ask = true",
            ),
            (
                "[[target]]\nstream = \"a\"\nbuiltin = \"echo\"\napprove = { for = \"2h\" }",
                "needs one of ask = true",
            ),
            (
                "metrics = \"0.0.0.0:9110\"\n[[target]]\nstream = \"a\"\nbuiltin = \"echo\"",
                "metrics: 0.0.0.0:9110 is reachable",
            ),
            ("connection-string = \"x\"\n[[target]]\nstream = \"a\"\nconnect = \"b\"\n", "'b' is neither"),
            ("connection-string = \"x\"\n[[target]]\nstream = \"a\"\n", "needs one of connect"),
            ("transport = \"carrier-pigeon\"", "unknown variant"),
            (
                "connection-string-env = \"KEY\"\n[[target]]\nstream = \"a\"\nconnect = \"b:1\"\npass-environment = [\"KEY\"]",
                "KEY holds the device's key",
            ),
            (
                "[[target]]\nstream = \"a\"\nconnect = \"b:1\"\npass-environment = [\"A=b\"]",
                "'A=b' cannot be a variable's name",
            ),
        ] {
            let (_directory, path) = written(text);
            let problem = Config::read(&path).unwrap_err().to_string();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn a_target_of_many_ports_names_them() {
        let target = |keys: &str| format!("connection-string = \"{DEVICE}\"\n\n[[target]]\n{keys}\n");
        let (_directory, path) = written(&format!(
            "{}\n[[target]]\nstream = 'tcp-*'\nconnect = ['127.0.0.1:1', '/run/x.sock']\n",
            target(
                "stream = '*'\nports = ['22', '8000-8999']\nconnect = ['127.0.0.1:{port}', '[::1]:{port}']"
            )
        ));
        let config = Config::read(&path).unwrap();
        for (stream, address) in [
            ("ssh", Some("127.0.0.1:22, [::1]:22")),
            ("tcp-8080", Some("127.0.0.1:8080, [::1]:8080")),
            ("tcp-80", Some("127.0.0.1:1, /run/x.sock")),
            ("console", None),
        ] {
            let target = config.target(stream);
            let found = target.map(|target| target.address.for_stream(stream).to_string());
            assert_eq!(found.as_deref(), address, "{stream}");
        }
        assert_eq!(config.host_keys, [""; 0], "one for each port");
        for (keys, line, part) in [
            ("stream = 'x'\nconnect = 'b'", 5, "connect: 'b' is neither host:port nor the path"),
            ("stream = 'x'\nconnect = ['b:1',\n 'c']", 5, "connect: 'c' is neither"),
            ("stream = 'x'\nconnect = []", 5, "connect: the list is empty"),
            ("stream = 'x'\nconnect = 22", 5, "expected connect to be \"host:port\", the path"),
            ("stream = 'tcp-*'\nconnect = 'b:{port}'", 3, "{port} in connect requires ports"),
            ("stream = 'tcp-*'\nconnect = ['b:1', 'b:{port}']", 3, "{port} in connect requires ports"),
            ("stream = 'tcp-*'\nports = ['90-80']\nconnect = 'b:{port}'", 5, "ports: '90-80' is neither"),
            ("stream = 'tcp-*'\nports = []\nconnect = 'b:{port}'", 5, "ports: the list is empty"),
            ("stream = 'tcp-*'\nports = [80]\nconnect = 'b:{port}'", 5, "expected a string"),
            (
                "stream = 'web'\nports = ['80']\nconnect = 'b:{port}'",
                3,
                "no stream of the ports 80 has a name",
            ),
            (
                "stream = 'ssh'\nports = ['80']\nconnect = 'b:{port}'",
                3,
                "no stream of the ports 80 has a name",
            ),
        ] {
            let (_directory, path) = written(&target(keys));
            let problem = Config::read(&path).unwrap_err().to_string();
            let place = format!("{}:{line}: ", path.display());
            assert!(problem.starts_with(&place) && problem.contains(part), "{keys}: {problem}");
        }
        let keys = "stream = 'tcp-*'\nports = ['22']\nconnect = 'b:{port}'";
        let (_directory, path) = written(&format!("host-keys = ['tcp-*']\n{}", target(keys)));
        assert!(Config::read(&path).unwrap_err().to_string().contains("for each port"));
    }

    const RELAY: &str =
        "Endpoint=sb://ns.example.net/;SharedAccessKeyName=r;SharedAccessKey=c2VjcmV0;EntityPath=site/gw";
    const TARGET: &str = "[[target]]\nstream = \"a\"\nconnect = \"b:1\"\n";

    /// The device and service of each listener, or the error.
    fn services(text: &str) -> std::result::Result<Vec<String>, String> {
        let (_directory, path) = written(&format!("{text}\n{TARGET}"));
        let config = Config::read(&path).map_err(|error| error.to_string())?;
        let listeners = config.listeners.iter();
        Ok(listeners.map(|listener| format!("{} at {}", listener.device(), listener.service())).collect())
    }

    #[test]
    fn one_agent_serves_each_service_that_it_has_a_credential_for() {
        let hub = format!("connection-string = '{DEVICE}'");
        let relay = format!("connection-string = '{RELAY}'");
        let (hubs, relays) = ("dev-1 at localhost:8443".to_owned(), "gw at ns.example.net".to_owned());
        for (text, expected) in [
            (relay.clone(), vec![relays.clone()]),
            (format!("{relay}\ndevice = 'GW 7'\nshared = true"), vec!["GW 7 at ns.example.net".into()]),
            (format!("{relay}\n[relay]\ndevice = 'x'"), vec!["x at ns.example.net".into()]),
            (format!("[relay]\n{relay}"), vec![relays.clone()]),
            (format!("{hub}\n[relay]\n{relay}"), vec![hubs.clone(), relays.clone()]),
            (
                format!("{hub}\n[relay]\nrelay = 'ns'\ntoken-command = 'az'\nentity = 'gw'"),
                vec![hubs.clone(), "gw at ns.servicebus.windows.net".into()],
            ),
            (
                "[relay]\nrelay = 'ns'\nrelay-suffix = '.example'\ntoken-command = 'az'\nentity = 'gw'"
                    .into(),
                vec!["gw at ns.example".into()],
            ),
        ] {
            assert_eq!(services(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn each_service_has_one_credential_and_its_own_keys() {
        let hub = format!("connection-string = '{DEVICE}'");
        let relay = format!("connection-string = '{RELAY}'");
        let namespace = relay.replace(";EntityPath=site/gw", "");
        for (text, parts) in [
            (
                format!("{relay}\n[relay]\n{relay}"),
                vec![
                    "two credentials for Azure Relay",
                    "connection-string in ",
                    "connection-string in [relay] of",
                ],
            ),
            (
                format!("{hub}\n[relay]\n{hub}"),
                vec!["two credentials for IoT Hub", "connection-string in [relay] of"],
            ),
            (format!("[relay]\n{hub}"), vec!["is a connection string of IoT Hub"]),
            (format!("{hub}\ndevice = 'x'"), vec!["device is for Azure Relay"]),
            (format!("{relay}\ntransport = 'mqtt'"), vec!["transport is for IoT Hub"]),
            (format!("{relay}\nshared = true\n[relay]\nshared = true"), vec!["shared is both"]),
            (format!("{hub}\n[relay]\nentity = 'x'"), vec!["[relay] has no credential"]),
            (namespace.clone(), vec!["nothing names the hybrid connection"]),
            (
                format!("{relay}\n[relay]\nentity = 'other'"),
                vec!["EntityPath is 'site/gw', and entity says 'other'"],
            ),
            (
                "[relay]\nrelay = 'ns'\ntoken-command = 'az'".into(),
                vec!["nothing names the hybrid connection"],
            ),
            ("[relay]\nrelay = 'ns'".into(), vec!["relay but no token-command"]),
            ("[relay]\ntoken-command = 'az'".into(), vec!["token-command but no relay"]),
            (
                format!("[relay]\n{relay}\nrelay = 'ns'\ntoken-command = 'az'"),
                vec!["both connection-string and token-command"],
            ),
            (format!("{relay}\n[relay]\nrelay-suffix = 'x'"), vec!["relay-suffix"]),
            (format!("{relay}\n[relay]\npreamble = 'aztunnel'"), vec!["unknown variant"]),
        ] {
            let problem = services(&text).unwrap_err();
            assert!(parts.iter().all(|part| problem.contains(part)), "{text}: {problem}");
            assert!(!problem.contains("c2VjcmV0"), "{problem}");
        }
        assert_eq!(
            services(&format!("{namespace}\n[relay]\nentity = 'a/b'")),
            Ok(vec!["b at ns.example.net".into()])
        );
    }

    #[test]
    fn a_file_with_a_relay_key_is_secret() {
        let (_directory, path) = written(&format!("[relay]\nconnection-string = 'Endpoint=x'\n{TARGET}"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Config::read(&path), Err(Error::Permissions(_))));
    }

    #[test]
    fn reads_a_configuration_from_options() {
        let (_directory, path) = written(DEVICE);
        let config = Config::from_options(Some(&path), &[]).unwrap();
        assert_eq!(config.target("ssh").unwrap().address, Address::parse("127.0.0.1:22").unwrap());
        let (_other, relay) = written(RELAY);
        assert_eq!(Config::from_options(Some(&relay), &[]).unwrap().listeners[0].device(), "gw");
        let config =
            Config::from_options(Some(&path), &["echo=[::1]:7".into(), "db=/run/db.sock".into()]).unwrap();
        assert_eq!(config.targets.len(), 2);
        let config =
            Config::from_options(Some(&path), &["e=builtin:echo".into(), "b=builtin:22".into()]).unwrap();
        assert_eq!(config.targets[0].address, Address::Builtin(Builtin::Echo));
        assert_eq!(
            config.targets[1].address,
            Address::parse("builtin:22").unwrap(),
            "a host may have that name"
        );
        for wrong in ["ssh", "=a:1", "ssh=22", "echo=builtin:nothing", "tcp-*=a:{port}"] {
            assert!(
                matches!(Config::from_options(Some(&path), &[wrong.into()]), Err(Error::Usage { .. })),
                "{wrong}"
            );
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Config::from_options(Some(&path), &[]), Err(Error::Permissions(_))));
    }
}
