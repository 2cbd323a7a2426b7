//! The commands that talk to a running agent.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Log;
use crate::text::duration;

#[derive(Subcommand, Clone, Debug)]
pub enum AgentAction {
    /// Approve what waits for an approval of STREAM
    Approve(ApproveStream),
    /// End approval windows
    Revoke(RevokeStream),
    /// Show what the running agent does
    Status(ShowStatus),
}

impl AgentAction {
    pub(super) fn log(&self) -> &Log {
        match self {
            Self::Approve(args) => &args.control.log,
            Self::Revoke(args) => &args.control.log,
            Self::Status(args) => &args.control.log,
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct Control {
    /// The agent's control socket [default: /run/iotstream/control.sock, or below $XDG_RUNTIME_DIR for a user's own agent]
    #[arg(long, value_name = "PATH", env = "IOTSTREAM_CONTROL")]
    pub control: Option<PathBuf>,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct ApproveStream {
    /// The name of the stream, as a user asks for it
    #[arg(value_name = "STREAM")]
    pub stream: String,
    /// Let in later streams of this name for so long, whether or not one waits now
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub r#for: Option<Duration>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub control: Control,
}

#[derive(Args, Clone, Debug)]
pub struct RevokeStream {
    /// The name of the stream
    #[arg(value_name = "STREAM", required_unless_present = "all")]
    pub stream: Option<String>,
    /// End the windows of all streams
    #[arg(long, conflicts_with = "stream")]
    pub all: bool,
    /// End the open streams of this name, too; with --all, those of every target that asks for approval
    #[arg(long)]
    pub cut: bool,
    #[command(flatten)]
    pub control: Control,
}

#[derive(Args, Clone, Debug)]
pub struct ShowStatus {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub control: Control,
}
