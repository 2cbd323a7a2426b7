//! The phases of setting up a stream, and how long each took.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::text::duration;

/// One step of setting up a stream. Connecting to a server has four; what a backend does after that has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase(&'static str);

impl Phase {
    /// Resolving a name.
    pub const DNS: Self = Self("dns");
    /// Connecting a socket.
    pub const TCP: Self = Self("tcp");
    /// Connecting through an HTTP or SOCKS proxy.
    pub const PROXY: Self = Self("proxy");
    /// The TLS handshake, certificate check included.
    pub const TLS: Self = Self("tls");

    /// A phase of a backend's.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    pub fn name(self) -> &'static str {
        self.0
    }

    /// Whether the connection to the server was not established yet.
    pub fn is_connecting(self) -> bool {
        [Self::DNS, Self::TCP, Self::PROXY, Self::TLS].contains(&self)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A finished phase: which, towards whom (`host:port`), and its wall-clock time.
#[derive(Clone, Debug)]
pub struct Timing {
    pub phase: Phase,
    pub target: String,
    pub took: Duration,
    since: Instant,
}

/// The record of the phases of one set-up.
#[derive(Clone, Debug, Default)]
pub struct Phases(Vec<Timing>);

impl Phases {
    /// Notes that `phase` towards `target` lasted from `since` until now, and logs it.
    pub fn done(&mut self, phase: Phase, target: impl fmt::Display, since: Instant) {
        let timing = Timing { phase, target: target.to_string(), took: since.elapsed(), since };
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

    /// The time of all of them together, in which those that ran beside each other count once.
    pub fn total(&self) -> Duration {
        let mut spans: Vec<_> =
            self.0.iter().map(|timing| (timing.since, timing.since + timing.took)).collect();
        spans.sort_unstable();
        let (mut total, mut counted) = (Duration::ZERO, None);
        for (since, until) in spans {
            // Up to `counted` it is counted already.
            let since = counted.map_or(since, |counted| since.max(counted));
            total += until.saturating_duration_since(since);
            counted = counted.max(Some(until));
        }
        total
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_beside_counts_once() {
        let begin = Instant::now();
        let phases = |spans: &[(u64, u64)]| {
            let timing = |&(since, took): &(u64, u64)| Timing {
                phase: Phase::TCP,
                target: String::new(),
                took: Duration::from_millis(took),
                since: begin + Duration::from_millis(since),
            };
            Phases(spans.iter().map(timing).collect()).total().as_millis()
        };
        assert_eq!(phases(&[]), 0);
        assert_eq!(phases(&[(0, 10), (10, 20), (50, 5)]), 35);
        assert_eq!(phases(&[(0, 10), (10, 100), (2, 10), (12, 30), (110, 5)]), 115);
        assert_eq!(phases(&[(0, 10), (5, 10)]), 15);
    }
}
