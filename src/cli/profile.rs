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
    /// Add a profile with the connection string that comes on stdin, or is asked for on a terminal
    Add(AddProfile),
    /// List the profiles; the default one has a star
    List(ProfileFile),
    /// Show a profile's settings, secrets hidden
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
    /// Its name: letters, digits, '-', '_' and '.'
    pub name: String,
    /// Patterns of the host names it is for, as '*.factory'
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub hosts: Vec<String>,
    /// A file of certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub file: ProfileFile,
}

#[derive(Args, Clone, Debug)]
pub struct NamedProfile {
    /// Which one
    pub name: String,
    #[command(flatten)]
    pub file: ProfileFile,
}

#[derive(Args, Clone, Debug)]
pub struct ShowProfile {
    /// The profile [default: the one that --profile or the file says]
    pub name: Option<String>,
    /// Say where each setting comes from
    #[arg(long)]
    pub origins: bool,
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// As for connect
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_CONNECT_TIMEOUT", value_parser = duration::parse)]
    pub connect_timeout: Option<Duration>,
    /// As for connect
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_RESPONSE_TIMEOUT", value_parser = duration::parse)]
    pub response_timeout: Option<Duration>,
    /// As for connect
    #[arg(long, value_name = "DURATION", env = "IOTSTREAM_WAIT", value_parser = duration::parse)]
    pub wait: Option<Duration>,
    #[command(flatten)]
    pub log: Log,
}
