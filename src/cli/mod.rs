//! The command line: types and help text, nothing else. Man pages, completions and `--help` all come from here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use clap_complete::ArgValueCandidates;
use log::LevelFilter;

use crate::logging;
use crate::platform::ServiceFile;
use crate::platform::process::RELAY_INFO;
use crate::text::duration;

mod agent_action;
pub mod complete;
mod host_keys;
mod measure;
mod order;
mod profile;
mod proxy_command;
mod socket_unit;
mod usage;

pub use agent_action::{AgentAction, ApproveStream, Control, RevokeStream, ShowStatus};
pub use host_keys::HostKeys;
pub use measure::{Bench, Direction, Ping};
pub use order::in_order;
pub use profile::{AddProfile, NamedProfile, Profile, ProfileAction, ProfileFile, ShowProfile};
pub use proxy_command::proxy_command;
pub use socket_unit::SocketUnit;
pub use usage::usage_error;

#[derive(Debug, Parser)]
#[command(
    name = "iotstream",
    version,
    about = "Reach a device behind a firewall with ssh, through Azure",
    long_about = "Reach a device behind a firewall with ssh, scp, sftp, rsync or git, through Azure Relay or an Azure IoT \
                  Hub device stream: no VPN, no open port on the device, no local listener.\n\n\
                  In ~/.ssh/config:\n\n    Host *.factory\n        ProxyCommand iotstream \"--name=%n\" -- \"%h\" \"%p\"",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "To reach a device that is named like a command: iotstream -- NAME"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub connect: Connect,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bridge stdin and stdout onto a stream to HOST, as the ProxyCommand does
    Connect(Connect),
    /// Run the device's side: accept streams and connect each to its target
    Agent(Agent),
    /// Run a local emulator of IoT Hub and Azure Relay, for tests and rehearsals
    Emulator(Emulator),
    /// List the devices of a hub or a relay, and cache their ids for names that ssh has lower-cased
    Devices(Devices),
    /// Manage profiles: services and their credentials
    Profile(Profile),
    /// Print the ssh configuration for every profile, or keep it in ~/.ssh
    SshConfig(SshConfig),
    /// Print systemd units that open a stream for each connection
    SocketUnit(SocketUnit),
    /// Tell ssh the host keys that a device reports
    HostKeys(HostKeys),
    /// Run a self-contained demo: service, device and ssh session on this machine
    Demo(Demo),
    /// Diagnose each step of the connection to HOST
    Check(Check),
    /// Measure round-trip times to HOST through a stream
    Ping(Ping),
    /// Measure throughput to HOST; uses the hub's daily quota; asks first
    Bench(Bench),
    /// Print a completion script
    Completions(Completions),
    /// Print the record of the last connection that failed
    Last(Last),
}

/// Which profile to use, and how to reach its hub.
#[derive(Args, Clone, Debug, Default)]
pub struct ProfileArgs {
    /// Use this profile, whatever the hosts patterns say
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_PROFILE", add = ArgValueCandidates::new(complete::profiles))]
    pub profile: Option<String>,
    /// The profile file [default: iotstream/profiles.toml in the user's configuration directory]
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Trust the certificates in this file, besides the system's
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The proxy: http://, https:// or socks5://, or none [default: from HTTPS_PROXY, ALL_PROXY and NO_PROXY]
    #[arg(long, value_name = "URL", env = "IOTSTREAM_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
}

/// The options of every command that opens a stream.
#[derive(Args, Clone, Debug, Default)]
pub struct StreamArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// The device's name as the user typed it (%n): ssh lower-cases HOST
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_NAME")]
    pub name: Option<String>,
    /// Open the stream to this module of the device
    #[arg(long, value_name = "ID", env = "IOTSTREAM_MODULE")]
    pub module: Option<String>,
    /// How long the hub waits for the device to come online; at a relay, how long to dial and retry [default: 8s]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_CONNECT_TIMEOUT", value_parser = duration::parse)]
    pub connect_timeout: Option<Duration>,
    /// How long the service waits for the device's answer [default: 30s]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_RESPONSE_TIMEOUT", value_parser = duration::parse)]
    pub response_timeout: Option<Duration>,
    /// Retry for this long while the device is offline; a hub that throttles is retried for at least 9 seconds [default:
    /// the profile's wait, else 0]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_WAIT", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    /// Ping after this much silence, and drop the connection after twice as much; 0 disables both [default: 30s, and 110s]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_KEEPALIVE", value_parser = duration::parse)]
    pub keepalive: Option<Duration>,
}

#[derive(Args, Clone, Debug, Default)]
pub struct Connect {
    /// The device as ssh names it (%h): an id, an alias, or an id with the profile's suffix
    #[arg(value_name = "HOST", required_unless_present_any = ["relay_info", "is_started_by_az"], add = ArgValueCandidates::new(complete::hosts))]
    pub host: Option<String>,
    /// The port (%p): 22 asks for the stream 'ssh', any other port N for 'tcp-N'
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), add = ArgValueCandidates::new(complete::ports))]
    pub port: Option<u16>,
    #[command(flatten)]
    pub stream_args: StreamArgs,
    /// Ask for this stream, whatever the port
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_STREAM", add = ArgValueCandidates::new(complete::streams))]
    pub stream: Option<String>,
    /// Reach the Azure Arc machine of this file, which `az ssh config` writes, in place of HOST. Without HOST and FILE,
    /// the variable SSHPROXY_RELAY_INFO of `az ssh arc` names the machine
    #[arg(short = 'r', long, value_name = "FILE", conflicts_with = "host")]
    pub relay_info: Option<PathBuf>,
    /// The variable has the credentials, which no option may have
    #[arg(long, hide = true, env = RELAY_INFO, hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub is_started_by_az: bool,
    /// The port on the Azure Arc machine [default: 22]
    #[arg(short = 'p', value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "host")]
    pub arc_port: Option<u16>,
    /// The domain of relays, in another cloud than the public one [default: servicebus.windows.net]
    #[arg(long, value_name = "DOMAIN", env = "IOTSTREAM_RELAY_SUFFIX")]
    pub relay_suffix: Option<String>,
    /// Print one line at the end: duration, bytes sent and received, phases
    #[arg(long, env = "IOTSTREAM_STATS", value_parser = clap::builder::FalseyValueParser::new())]
    pub stats: bool,
    #[command(flatten)]
    pub log: Log,
}

/// How much is logged, and where.
#[derive(Args, Clone, Debug, Default)]
pub struct Log {
    /// Print more on stderr; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, env = "IOTSTREAM_VERBOSE")]
    pub verbose: u8,
    /// Print nothing on stderr but the error that ends the command
    #[arg(short, long)]
    pub quiet: bool,
    /// Append messages to this file, too
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_LOG_FILE")]
    pub log_file: Option<PathBuf>,
}

impl Log {
    /// The options of the log: `-v` prints information, `-vv` everything, `-q` nothing.
    pub fn options(&self, is_agent: bool) -> logging::Options {
        let stderr = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Off,
            (_, 0) => LevelFilter::Warn,
            (_, 1) => LevelFilter::Info,
            _ => LevelFilter::Debug,
        };
        logging::Options { stderr, file: self.log_file.clone(), is_agent }
    }
}

#[derive(Args, Clone, Debug, Default)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Agent {
    #[command(subcommand)]
    pub action: Option<AgentAction>,
    /// The agent's configuration file [default: /etc/iotstream/agent.toml]
    #[arg(
        long,
        value_name = "FILE",
        env = "IOTSTREAM_AGENT_CONFIG",
        conflicts_with_all = ["connection_string_file", "target"]
    )]
    pub config: Option<PathBuf>,
    /// Run without a configuration file; read the device's connection string from this file
    #[arg(long, value_name = "FILE")]
    pub connection_string_file: Option<PathBuf>,
    /// Trust the certificates in this file, besides the system's
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The proxy: http://, https:// or socks5://, or none [default: from HTTPS_PROXY, ALL_PROXY and NO_PROXY]
    #[arg(long, value_name = "URL", env = "IOTSTREAM_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
    /// Without a configuration file: connect STREAM to HOST:PORT, or for measuring to builtin:echo, builtin:discard or
    /// builtin:source [default: ssh=127.0.0.1:22]
    #[arg(long, value_name = "STREAM=HOST:PORT")]
    pub target: Vec<String>,
    /// The control socket [default: control in the configuration file, else /run/iotstream/control.sock, or below
    /// $XDG_RUNTIME_DIR for a user's own agent]
    #[arg(long, value_name = "PATH", env = "IOTSTREAM_CONTROL")]
    pub control: Option<PathBuf>,
    /// Check the configuration, the connection to the service, the credential and each target, and exit. An IoT Hub
    /// disconnects a running agent of this device for a moment; at Azure Relay, the credential is not tried
    #[arg(long)]
    pub check: bool,
    /// Print the findings of --check as JSON
    #[arg(long, requires = "check")]
    pub json: bool,
    /// Serve in a child process, which leaves the hub at SIGUSR2 and serves its streams to their end
    #[arg(long, conflicts_with_all = ["check", "install"])]
    pub restartable: bool,
    #[arg(long, value_name = "PID", hide = true, conflicts_with = "restartable")]
    pub main_process: Option<u32>,
    /// Print a hardened systemd unit that runs the agent
    #[arg(long, conflicts_with_all = ["check", "connection_string_file", "target"])]
    pub install: bool,
    /// Print the principal of the IoT Identity Service with the unit of --install; the identity must be "aziot"
    #[arg(long, requires = "install")]
    pub aziot: bool,
    /// Write the unit of --install to this directory [default: /etc/systemd/system]
    #[arg(long, value_name = "DIR", requires = "install", num_args = 0..=1, default_missing_value = ServiceFile::HERE.directory())]
    pub write: Option<PathBuf>,
    /// Print the key of this device of an enrolment group, from the group's key on stdin, which must not be on a device
    #[arg(long, value_name = "REGISTRATION-ID", conflicts_with_all = ["check", "install", "connection_string_file"])]
    pub derive_key: Option<String>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Emulator {
    /// Keep keys, certificates and connection strings in this directory
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Listen here for HTTPS (REST, gateway, MQTT over WebSocket); port 0 picks a free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Listen here for MQTT over TLS; port 0 picks a free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8883")]
    pub mqtt_listen: SocketAddr,
    /// Register this device, or DEVICE/MODULE
    #[arg(long = "device", value_name = "ID", num_args = 1..)]
    pub devices: Vec<String>,
    /// Register a device, or DEVICE/MODULE, that authenticates with the certificate of this SHA-256 thumbprint
    #[arg(long = "x509-device", value_name = "ID=THUMBPRINT")]
    pub x509_devices: Vec<String>,
    /// Serve the Device Provisioning Service with this id scope, as in 0ne00000001; any registration id may register with a
    /// key that is derived from DIR/dps/group.key
    #[arg(long, value_name = "ID-SCOPE")]
    pub dps_scope: Option<String>,
    /// Let devices register whose certificates lead to a CA in this file
    #[arg(long, value_name = "FILE", requires = "dps_scope")]
    pub dps_ca: Option<PathBuf>,
    /// Enrol this registration id, as a device of this id, with a key of its own in DIR/dps/devices
    #[arg(long = "dps-device", value_name = "ID[=DEVICE]", requires = "dps_scope")]
    pub dps_devices: Vec<String>,
    /// Enrol this registration id with the certificate of this SHA-256 thumbprint
    #[arg(long = "dps-x509-device", value_name = "ID=THUMBPRINT", requires = "dps_scope")]
    pub dps_x509_devices: Vec<String>,
    /// Serve this hybrid connection of Azure Relay
    #[arg(long = "relay-entity", value_name = "NAME", num_args = 1..)]
    pub relay_entities: Vec<String>,
    /// Serve a hybrid connection that senders connect to without a token
    #[arg(long = "relay-anonymous", value_name = "NAME", num_args = 1..)]
    pub relay_anonymous: Vec<String>,
    /// Another name for the TLS certificate; the connection strings have the first one
    #[arg(long = "hostname", value_name = "NAME")]
    pub hostnames: Vec<String>,
    /// Limit new streams a second and streams at a time, as in 5/s,50 [default: no limit]
    #[arg(long, value_name = "RATE/s,AT-ONCE")]
    pub quota: Option<String>,
    /// Inject these faults, as in latency=100ms,gateway=401,…
    #[arg(long, value_name = "FAULTS")]
    pub inject: Option<String>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Use Azure Relay in place of an IoT Hub
    #[arg(long)]
    pub relay: bool,
    /// Arguments for ssh after the host's name: options and a command
    #[arg(value_name = "SSH-ARGS", last = true)]
    pub ssh_args: Vec<String>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Check {
    #[command(flatten)]
    pub connect: Connect,
    /// Print a JSON array of the steps, each with check, status (pass, warn, fail or skip), detail, hint and milliseconds
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = clap::builder::PossibleValuesParser::new(complete::shells()))]
    pub shell: String,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Last {
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Devices {
    /// Only ids that match this pattern, with * and ?, ignoring case
    #[arg(value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Only devices in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<DeviceState>,
    /// Print a JSON array with the fields id, state and lastActivity, and, where an agent has reported them, agent and streams
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub log: Log,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    Online,
    Offline,
    Disabled,
}

#[derive(Args, Clone, Debug)]
pub struct SshConfig {
    /// Write the blocks to ~/.ssh/iotstream.conf, and include it in ~/.ssh/config
    #[arg(long)]
    pub write: bool,
    /// Print what --write would change
    #[arg(long, conflicts_with = "write")]
    pub diff: bool,
    /// Undo --write
    #[arg(long, conflicts_with_all = ["write", "diff", "devices"])]
    pub remove: bool,
    /// Ask the hubs for their devices, and write a block for each: for host keys by device and ssh's completion
    #[arg(long)]
    pub devices: bool,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub log: Log,
}

impl Cli {
    /// The options of a connection, where the command line asks for one.
    pub fn connection(&self) -> Option<&Connect> {
        match &self.command {
            None => Some(&self.connect),
            Some(Command::Connect(args)) => Some(args),
            Some(_) => None,
        }
    }

    /// The logging options of the command.
    pub fn log(&self) -> &Log {
        match &self.command {
            None => &self.connect.log,
            Some(Command::Connect(args)) => &args.log,
            Some(Command::Agent(args)) => args.action.as_ref().map_or(&args.log, AgentAction::log),
            Some(Command::Emulator(args)) => &args.log,
            Some(Command::Demo(args)) => &args.log,
            Some(Command::Devices(args)) => &args.log,
            Some(Command::Profile(args)) => args.action.log(),
            Some(Command::SshConfig(args)) => &args.log,
            Some(Command::SocketUnit(args)) => &args.log,
            Some(Command::HostKeys(args)) => &args.log,
            Some(Command::Check(args)) => &args.connect.log,
            Some(Command::Ping(args)) => &args.log,
            Some(Command::Bench(args)) => &args.log,
            Some(Command::Completions(args)) => &args.log,
            Some(Command::Last(args)) => &args.log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_host_needs_no_command() {
        let cli = Cli::try_parse_from(["iotstream", "gw-07.factory", "2222"]).unwrap();
        assert_eq!((cli.connect.host.as_deref(), cli.connect.port), (Some("gw-07.factory"), Some(2222)));
        assert!(cli.command.is_none());
    }

    #[test]
    fn a_device_may_be_named_like_a_command() {
        let cli = Cli::try_parse_from(["iotstream", "--", "agent"]).unwrap();
        assert_eq!(cli.connect.host.as_deref(), Some("agent"));
        let cli = Cli::try_parse_from(["iotstream", "-v", "--", "agent", "22"]).unwrap();
        assert_eq!(cli.connect.host.as_deref(), Some("agent"));
    }

    #[test]
    fn az_names_no_host() {
        let cli = Cli::try_parse_from(["iotstream", "-r", "FILE", "-p", "2222"]).unwrap();
        assert_eq!((cli.connect.host, cli.connect.arc_port), (None, Some(2222)));
        assert!(Cli::try_parse_from(["iotstream", "-p", "22"]).is_err());
        assert!(Cli::try_parse_from(["iotstream", "--is-started-by-az", "-p", "22"]).is_ok());
        assert!(Cli::try_parse_from(["iotstream", "-r", "FILE", "host"]).is_err());
    }

    #[test]
    fn nothing_at_all_is_a_usage_error() {
        assert!(Cli::try_parse_from(["iotstream"]).is_err());
        assert!(Cli::try_parse_from(["iotstream", "host", "0"]).is_err());
    }
}
