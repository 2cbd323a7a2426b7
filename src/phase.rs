//! The phases of setting up a stream, and how long each took.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::duration;

/// One step on the way from a host name to an open stream, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Resolving a name.
    Dns,
    /// Connecting a socket.
    Tcp,
    /// Getting through an HTTP or SOCKS proxy.
    Proxy,
    /// The TLS handshake, certificate check included.
    Tls,
    /// The hub's own answer: authorisation, throttling, finding the device.
    Hub,
    /// Waiting for the device to accept.
    Device,
    /// The WebSocket upgrade at the streaming gateway.
    Gateway,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Dns => "dns",
            Phase::Tcp => "tcp",
            Phase::Proxy => "proxy",
            Phase::Tls => "tls",
            Phase::Hub => "hub",
            Phase::Device => "device",
            Phase::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A finished phase: which, towards whom (`host:port`), and its wall-clock time.
#[derive(Clone, Debug)]
pub struct Timing {
    pub phase: Phase,
    pub target: String,
    pub took: Duration,
}

/// The record of the phases of one set-up.
#[derive(Clone, Debug, Default)]
pub struct Phases(Vec<Timing>);

impl Phases {
    /// Notes that `phase` towards `target` lasted from `since` until now, and logs it.
    pub fn done(&mut self, phase: Phase, target: impl fmt::Display, since: Instant) {
        let timing = Timing { phase, target: target.to_string(), took: since.elapsed() };
        log::info!("{phase} {} {:.1} ms", timing.target, timing.took.as_secs_f64() * 1e3);
        self.0.push(timing);
    }

    /// Appends another record, for phases that ran beside this one's.
    pub fn extend(&mut self, other: Phases) {
        self.0.extend(other.0);
    }

    /// `dns 1.2, tcp 3.4`, in the order in which they ended.
    pub fn in_milliseconds(&self) -> String {
        let show = |timing: &Timing| format!("{} {:.1}", timing.phase, timing.took.as_secs_f64() * 1e3);
        self.0.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    /// The time of all of them together.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|timing| timing.took).sum()
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let object = |timing: &Timing| {
            json!({
                "phase": timing.phase.name(),
                "target": timing.target,
                "milliseconds": duration::milliseconds(timing.took),
            })
        };
        self.0.iter().map(object).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Timing> {
        self.0.iter()
    }
}
