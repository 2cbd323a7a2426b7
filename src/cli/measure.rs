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
    /// Stop after so many probes [default: Ctrl-C stops]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// The time between two probes; with 0 each goes out when the one before is back
    #[arg(short, long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    pub interval: Duration,
    /// Bytes of each probe
    #[arg(short, long, value_name = "BYTES", default_value_t = 56, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub size: u32,
    /// How long an answer may take before it is missed
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// The stream to ask for: one that gives back what it gets
    #[arg(long, value_name = "NAME", default_value = "echo")]
    pub stream: String,
    /// Print JSON at the end: each probe, what was lost, and the milliseconds of set-up and round trips
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
    /// Which way to send: to the device, from it, or one after the other
    #[arg(short, long, value_name = "DIRECTION", default_value = "both")]
    pub direction: Direction,
    /// How much to send each way: bytes, or with K, M or G
    #[arg(short, long, value_name = "SIZE", default_value = "10M", value_parser = size::parse)]
    pub size: u64,
    /// Do not ask whether it may take so much of the hub's daily quota
    #[arg(short, long)]
    pub yes: bool,
    /// Print JSON at the end: for each direction the bytes, the seconds and the bits a second
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub stream_args: StreamArgs,
    #[command(flatten)]
    pub log: Log,
}

/// Seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    Up,
    Down,
    Both,
}
