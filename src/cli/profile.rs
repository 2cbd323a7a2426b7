//! The options of the commands that manage profiles.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Log, ProfileArgs};
use crate::text::duration;

#[derive(Args, Clone, Debug)]
pub struct Profile {
    #[command(subcommand)]
    pub action: ProfileAction,
}

#[derive(Subcommand, Clone, Debug)]
pub enum ProfileAction {
    /// Add a profile; read its connection string from stdin, or ask for it on a terminal
    Add(AddProfile),
    /// List the profiles; a star marks the default
    List(ProfileFile),
    /// Show a profile's settings, with secrets hidden
    Show(ShowProfile),
    /// Remove a profile
    Remove(NamedProfile),
    /// Make a profile the default
    Default(NamedProfile),
    /// Print the path of the profile file
    Path(ProfileFile),
}

impl ProfileAction {
    pub(super) fn log(&self) -> &Log {
        match self {
            Self::Add(args) => &args.file.log,
            Self::List(file) | Self::Path(file) => &file.log,
            Self::Show(args) => &args.log,
            Self::Remove(args) | Self::Default(args) => &args.file.log,
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct ProfileFile {
    /// The profile file [default: iotstream/profiles.toml in the user's configuration directory]
    #[arg(long, value_name = "FILE", env = "IOTSTREAM_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct AddProfile {
    /// The profile's name: letters, digits, '-', '_' and '.'
    pub name: String,
    /// Patterns of the host names that the profile is for, such as '*.factory'
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub hosts: Vec<String>,
    /// Trust the certificates in this file, besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// At an IoT Hub: the agents' module of each device; a device without it is asked itself
    #[arg(long, value_name = "ID")]
    pub module: Option<String>,
    #[command(flatten)]
    pub file: ProfileFile,
}

#[derive(Args, Clone, Debug)]
pub struct NamedProfile {
    /// The profile's name
    pub name: String,
    #[command(flatten)]
    pub file: ProfileFile,
}

#[derive(Args, Clone, Debug)]
pub struct ShowProfile {
    /// The profile [default: that of --profile, else the default of the file]
    pub name: Option<String>,
    /// Show where each setting comes from
    #[arg(long)]
    pub origins: bool,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// As in connect
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_CONNECT_TIMEOUT", value_parser = duration::parse)]
    pub connect_timeout: Option<Duration>,
    /// As in connect
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_RESPONSE_TIMEOUT", value_parser = duration::parse)]
    pub response_timeout: Option<Duration>,
    /// As in connect
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_WAIT", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    #[command(flatten)]
    pub log: Log,
}
