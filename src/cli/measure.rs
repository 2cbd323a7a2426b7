//! The options of the commands that measure.

use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::{Log, StreamArgs};
use crate::cli::complete;
use crate::text::{duration, size};

#[derive(Args, Clone, Debug)]
pub struct Ping {
    /// The device's name, as for ssh
    #[arg(value_name = "HOST", add = ArgValueCandidates::new(complete::hosts))]
    pub host: String,
    /// Stop after this many probes [default: at Ctrl-C]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// The time between two probes; with 0 each is sent when the one before is back
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub interval: Duration,
    /// The size of each probe in bytes
    #[arg(short, long, value_name = "BYTES", default_value_t = 56, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub size: u32,
    /// How long to wait for an answer
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Ask for this stream, which must echo
    #[arg(long, value_name = "NAME", default_value = "echo")]
    pub stream: String,
    /// Print JSON at the end: each probe, the losses, and the milliseconds of set-up and round trips
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub stream_args: StreamArgs,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct Bench {
    /// The device's name, as for ssh
    #[arg(value_name = "HOST", add = ArgValueCandidates::new(complete::hosts))]
    pub host: String,
    /// The direction to measure: up to the device, down from it, or one after the other
    #[arg(short, long, value_name = "DIRECTION", default_value = "both")]
    pub direction: Direction,
    /// How much to send in each direction: bytes, or with K, M or G
    #[arg(short, long, value_name = "SIZE", default_value = "10M", value_parser = size::parse)]
    pub size: u64,
    /// Do not ask before using the hub's daily quota
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON at the end: the bytes, seconds and bits per second of each direction
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub stream_args: StreamArgs,
    #[command(flatten)]
    pub log: Log,
}

/// A direction, seen from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    Up,
    Down,
    Both,
}
