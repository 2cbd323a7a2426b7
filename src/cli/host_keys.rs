//! The options of `host-keys`.

use std::ffi::OsString;

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::{Log, ProfileArgs};
use crate::cli::complete;

#[derive(Args, Clone, Debug)]
pub struct HostKeys {
    /// The device's name as the user typed it (%n)
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::hosts))]
    pub name: String,
    /// The name to print in front of each key (%H) [default: NAME]
    #[arg(value_name = "HOST")]
    pub known_as: Option<String>,
    /// The port (%p): 22 asks for the keys of the stream 'ssh', any other port N for those of 'tcp-N'
    #[arg(value_name = "PORT", default_value_t = 22, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// The device's name after ssh's HostName (%h), where the ProxyCommand has it, too [default: NAME]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The type and the key that the server presents (%t and %K): the hub is asked again for a key that is not known yet
    #[arg(long, num_args = 2, value_names = ["TYPE", "KEY"])]
    pub presented: Vec<String>,
    /// Use the keys of this module of the device
    #[arg(long, value_name = "ID", env = "IOTSTREAM_MODULE")]
    pub module: Option<String>,
    /// Use the keys of this stream, whatever the port
    #[arg(long, value_name = "NAME", env = "IOTSTREAM_STREAM")]
    pub stream: Option<String>,
    /// Show what the device reports now: fingerprints and pictures of its host keys
    #[arg(long)]
    pub show: bool,
    /// Trust the host keys that the device reports now, in place of those that were pinned
    #[arg(long, conflicts_with = "show")]
    pub accept: bool,
    #[command(flatten)]
    pub profile: ProfileArgs,
    #[command(flatten)]
    pub log: Log,
}

impl HostKeys {
    /// Whether ssh runs the command: neither `--show` nor `--accept` is among its words.
    pub fn is_for_ssh(words: &[OsString]) -> bool {
        let options = words.iter().take_while(|word| *word != "--");
        !options.into_iter().any(|word| word == "--show" || word == "--accept")
    }
}
