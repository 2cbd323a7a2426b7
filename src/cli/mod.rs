//! The command line: types and help text, nothing else. Man pages, completions and `--help` all come from here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use clap_complete::ArgValueCandidates;

use crate::text::duration;

pub mod complete;
mod measure;
mod order;
mod profile;
mod usage;

pub use measure::{Bench, Direction, Ping};
pub use order::in_order;
pub use profile::{AddProfile, NamedProfile, Profile, ProfileAction, ProfileFile, ShowProfile};
pub use usage::usage_error;

#[derive(Debug, Parser)]
#[command(
    name = "iotstream",
    version,
    about = "Reach a device behind a firewall with ssh, through an Azure IoT Hub device stream",
    long_about = "Reach a device behind a firewall with ssh, scp, sftp, rsync or git, through an Azure IoT Hub device \
                  stream: no VPN, no open port on the device, no local listener.\n\n\
                  In ~/.ssh/config:\n\n    Host *.factory\n        ProxyCommand iotstream \"--name=%n\" -- \"%h\" \"%p\"",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "A device named like a command is reached with `iotstream -- NAME`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub connect: Connect,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bridge stdin and stdout onto a stream to HOST: the ProxyCommand, written out
    Connect(Connect),
    /// Serve this device: wait for streams and connect each to its target
    Agent(Agent),
    /// Run a local IoT Hub that speaks the same protocol, for tests and rehearsals
    Emulator(Emulator),
    /// List the hub's devices, and remember their ids for names that ssh has lower-cased
    Devices(Devices),
    /// Manage profiles: the hubs and their credentials
    Profile(Profile),
    /// Print or keep the ssh configuration for every profile
    SshConfig(SshConfig),
    /// Show it working: a hub, a device and a real ssh session, all on this machine
    Demo(Demo),
    /// Look at every phase on the way to HOST, and say what to do about the one that fails
    Check(Check),
    /// Measure how long a byte takes to HOST and back, through a real stream
    Ping(Ping),
    /// Measure how fast a stream to HOST is; it costs of the hub's daily quota, and asks before
    Bench(Bench),
    /// Print a shell's loader of completions
    Completions(Completions),
    /// Print the record of the last connection that failed
    Last(Last),
}

/// Which profile to use, and how to reach its hub.
#[derive(Args, Clone, Debug, Default)]
pub struct ProfileArgs {
    /// The profile to use, whatever its hosts patterns say
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_PROFILE", add = ArgValueCandidates::new(complete::profiles))]
    pub profile: Option<String>,
    /// The profile file [default: iotstream/profiles.toml in the user's configuration directory]
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CONFIG")]
    pub config: Option<PathBuf>,
    /// A file of certificates to trust besides the system's
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// A proxy: http://, https:// or socks5://, or none [default: as HTTPS_PROXY, ALL_PROXY and NO_PROXY say]
    #[arg(long, value_name = "URL", env = "IOTSTREAM_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
}

/// The options of every command that opens a stream.
#[derive(Args, Clone, Debug, Default)]
pub struct StreamArgs {
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// The name as it was typed ("%n"), for ssh lower-cases HOST
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_NAME")]
    pub name: Option<String>,
    /// A module of the device
    #[arg(long, value_name = "ID", env = "IOTSTREAM_MODULE")]
    pub module: Option<String>,
    /// How long the hub waits for the device to come online [default: 8s]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_CONNECT_TIMEOUT", value_parser = duration::parse)]
    pub connect_timeout: Option<Duration>,
    /// How long the hub waits for the device's answer [default: 30s]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_RESPONSE_TIMEOUT", value_parser = duration::parse)]
    pub response_timeout: Option<Duration>,
    /// Keep trying for this long while the device is offline; a hub that throttles is tried for 9 seconds in any case
    /// [default: the profile's, else 0]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_WAIT", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    /// Ping after this much silence, and drop the connection after twice as much; 0 disables both [default: 30s, and 110s]
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_KEEPALIVE", value_parser = duration::parse)]
    pub keepalive: Option<Duration>,
}

#[derive(Args, Clone, Debug, Default)]
pub struct Connect {
    /// The device's name as ssh has it (%h): an id, an alias, or an id with the profile's suffix
    #[arg(value_name = "HOST", required = true, add = ArgValueCandidates::new(complete::hosts))]
    pub host: Option<String>,
    /// The port asked for (%p): 22 is the stream 'ssh', any other N is 'tcp-N'
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    #[command(flatten)]
    pub stream_args: StreamArgs,
    /// The stream to ask for, whatever the port
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_STREAM")]
    pub stream: Option<String>,
    /// At the end print one line: duration, bytes each way, phases
    #[arg(long, env = "IOTSTREAM_STATS", value_parser = clap::builder::FalseyValueParser::new())]
    pub stats: bool,
    #[command(flatten)]
    pub log: Log,
}

/// How much is said, and where.
#[derive(Args, Clone, Debug, Default)]
pub struct Log {
    /// Say more on stderr; twice for all
    #[arg(short, long, action = clap::ArgAction::Count, env = "IOTSTREAM_VERBOSE")]
    pub verbose: u8,
    /// Say nothing on stderr but the error that ends the command
    #[arg(short, long)]
    pub quiet: bool,
    /// Append messages to this file as well
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_LOG_FILE")]
    pub log_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
pub struct Agent {
    /// The configuration [default: /etc/iotstream/agent.toml]
    #[arg(
        long,
        value_name = "FILE",
        env = "IOTSTREAM_AGENT_CONFIG",
        conflicts_with = "connection_string_file"
    )]
    pub config: Option<PathBuf>,
    /// Run without a configuration, with the device's connection string from this file
    #[arg(long, value_name = "FILE")]
    pub connection_string_file: Option<PathBuf>,
    /// A file of certificates to trust besides the system's
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// A proxy: http://, https:// or socks5://, or none [default: as HTTPS_PROXY, ALL_PROXY and NO_PROXY say]
    #[arg(long, value_name = "URL", env = "IOTSTREAM_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
    /// Without a configuration: a stream's name and where it leads; for measuring, builtin:echo, builtin:discard or
    /// builtin:source [default: ssh=127.0.0.1:22]
    #[arg(long, value_name = "STREAM=HOST:PORT", requires = "connection_string_file")]
    pub target: Vec<String>,
    /// Look at the configuration, the way to the hub, the credential and each target, and serve nothing. A running agent
    /// of this device is put out of service for a moment
    #[arg(long)]
    pub check: bool,
    /// The findings of --check as JSON
    #[arg(long, requires = "check")]
    pub json: bool,
    /// Print a hardened systemd unit that runs the agent
    #[arg(long, conflicts_with_all = ["check", "connection_string_file"])]
    pub install: bool,
    /// Write the unit of --install to this directory [default: /etc/systemd/system]
    #[arg(long, value_name = "DIR", requires = "install", num_args = 0..=1, default_missing_value = "/etc/systemd/system")]
    pub write: Option<PathBuf>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Emulator {
    /// Where keys, certificates and connection strings are kept
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where HTTPS (REST, gateway, MQTT over WebSocket) listens; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Where MQTT over TLS listens; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8883")]
    pub mqtt_listen: SocketAddr,
    /// A device to register, or DEVICE/MODULE
    #[arg(long = "device", value_name = "ID", num_args = 1..)]
    pub devices: Vec<String>,
    /// A device, or DEVICE/MODULE, that proves itself with the certificate of this SHA-256 thumbprint
    #[arg(long = "x509-device", value_name = "ID=THUMBPRINT")]
    pub x509_devices: Vec<String>,
    /// Another name for the TLS certificate; the first one stands in the connection strings
    #[arg(long = "hostname", value_name = "NAME")]
    pub hostnames: Vec<String>,
    /// New streams a second and streams at a time that it lets in, as 5/s,50 [default: all]
    #[arg(long, value_name = "RATE/s,AT-ONCE")]
    pub quota: Option<String>,
    /// Faults to make, as latency=100ms,gateway=401,…
    #[arg(long, value_name = "FAULTS")]
    pub inject: Option<String>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Demo {
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
    /// Print JSON: an array of what was looked at, each with check, status (pass, warn, fail or skip), detail, hint and
    /// milliseconds
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Completions {
    /// Whose
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
    /// Only ids that fit this pattern, with * and ?, ignoring case
    #[arg(value_name = "PATTERN")]
    pub pattern: Option<String>,
    /// Only devices in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<DeviceState>,
    /// Print JSON, with the fields id, state and lastActivity
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
    /// Keep the blocks in ~/.ssh/iotstream.conf, which ~/.ssh/config includes
    #[arg(long)]
    pub write: bool,
    /// Print what --write would change
    #[arg(long, conflicts_with = "write")]
    pub diff: bool,
    /// Undo --write
    #[arg(long, conflicts_with_all = ["write", "diff", "devices"])]
    pub remove: bool,
    /// Ask the hubs for their devices, and name each: for host keys by device, and for ssh's completion
    #[arg(long)]
    pub devices: bool,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub log: Log,
}

impl Cli {
    /// What connects, where that is what was asked for.
    pub fn connection(&self) -> Option<&Connect> {
        match &self.command {
            None => Some(&self.connect),
            Some(Command::Connect(args)) => Some(args),
            Some(_) => None,
        }
    }

    /// The logging options of whichever command was given.
    pub fn log(&self) -> &Log {
        match &self.command {
            None => &self.connect.log,
            Some(Command::Connect(args)) => &args.log,
            Some(Command::Agent(args)) => &args.log,
            Some(Command::Emulator(args)) => &args.log,
            Some(Command::Demo(args)) => &args.log,
            Some(Command::Devices(args)) => &args.log,
            Some(Command::Profile(args)) => args.action.log(),
            Some(Command::SshConfig(args)) => &args.log,
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
    fn nothing_at_all_is_a_usage_error() {
        assert!(Cli::try_parse_from(["iotstream"]).is_err());
        assert!(Cli::try_parse_from(["iotstream", "host", "0"]).is_err());
    }
}
