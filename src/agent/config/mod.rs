//! The agent's configuration, from a file or from options.

mod listeners;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::schema::{Document, RelayTable};

use self::listeners::{listener, listeners};
use self::schema::{ApproveEntry, ApproveWord, TargetEntry};
use super::approval::Approve;
use super::host_keys::selection;
use super::metrics::Destination;
use super::target::{Address, Builtin, Server, Target};
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
pub(in crate::agent) fn target(
    entry: TargetEntry,
    keys: [Option<&str>; 3],
) -> std::result::Result<Target, String> {
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
mod tests;
