//! The options of `socket-unit`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::{Log, ProfileArgs, complete};

#[derive(Args, Clone, Debug)]
pub struct SocketUnit {
    /// The device, as for `iotstream connect`
    #[arg(value_name = "HOST", add = ArgValueCandidates::new(complete::hosts))]
    pub host: String,
    /// The device's port: 22 asks for the stream 'ssh', any other port N for 'tcp-N'
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), add = ArgValueCandidates::new(complete::ports))]
    pub port: u16,
    /// The units' name: NAME.socket and NAME@.service [default: iotstream-HOST-PORT]
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
    /// Listen here: ADDR:PORT, an address for the same port, or the path of a Unix socket, to which only the user may connect
    /// [default: 127.0.0.1:PORT]
    #[arg(long, value_name = "ADDR|PATH")]
    pub listen: Option<String>,
    /// For the user's own systemd; this is the default
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// For the system's systemd
    #[arg(long, requires = "run_as")]
    pub system: bool,
    /// The user that the program runs as, with --system
    #[arg(long, value_name = "USER", requires = "system")]
    pub run_as: Option<String>,
    /// Write the units to DIR, and print how to enable them [default: ~/.config/systemd/user or /etc/systemd/system]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub write: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub log: Log,
}
