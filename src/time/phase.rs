//! The phases of setting up a stream, and their times.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::text::duration;

/// One step of setting up a stream. Connecting to a server has four phases; backends name their own.
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

    /// A backend's phase.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name in output and errors.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Whether this phase precedes an established connection.
    pub fn is_connecting(self) -> bool {
        [Self::DNS, Self::TCP, Self::PROXY, Self::TLS].contains(&self)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A finished phase.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The phase.
    pub phase: Phase,
    /// The server, as `host:port`.
    pub target: String,
    /// The wall-clock time.
    pub took: Duration,
    since: Instant,
}

/// The finished phases of one set-up.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    timings: Vec<Timing>,
    is_unlogged: bool,
}

impl Phases {
    /// Phases of a set-up that others can cause without end, which would fill the log.
    pub fn unlogged() -> Self {
        Self { timings: Vec::new(), is_unlogged: true }
    }

    /// Records that `phase` with `target` lasted from `since` until now, and logs it if these phases are logged.
    pub fn done(&mut self, phase: Phase, target: impl fmt::Display, since: Instant) {
        let timing = Timing { phase, target: target.to_string(), took: since.elapsed(), since };
        if !self.is_unlogged {
            log::info!("{phase} {} {:.1} ms", timing.target, timing.took.as_secs_f64() * 1e3);
        }
        self.timings.push(timing);
    }

    /// Appends the phases of a concurrent set-up.
    pub fn extend(&mut self, other: Phases) {
        self.timings.extend(other.timings);
    }

    /// `dns 1.2, tcp 3.4`, in the order of their ends.
    pub fn in_milliseconds(&self) -> String {
        let show = |timing: &Timing| format!("{} {:.1}", timing.phase, timing.took.as_secs_f64() * 1e3);
        self.timings.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    /// The total time. Concurrent phases count once.
    pub fn total(&self) -> Duration {
        let mut spans: Vec<_> =
            self.timings.iter().map(|timing| (timing.since, timing.since + timing.took)).collect();
        spans.sort_unstable();
        let (mut total, mut counted) = (Duration::ZERO, None);
        for (since, until) in spans {
            let since = counted.map_or(since, |counted| since.max(counted));
            total += until.saturating_duration_since(since);
            counted = counted.max(Some(until));
        }
        total
    }

    /// The phases and their times as JSON.
    pub fn json(&self) -> Value {
        let object = |timing: &Timing| {
            json!({
                "phase": timing.phase.name(),
                "target": timing.target,
                "milliseconds": duration::milliseconds(timing.took),
            })
        };
        self.timings.iter().map(object).collect()
    }

    /// The finished phases, in the order of their ends.
    pub fn iter(&self) -> impl Iterator<Item = &Timing> {
        self.timings.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_phases_count_once() {
        let begin = Instant::now();
        let phases = |spans: &[(u64, u64)]| {
            let timing = |&(since, took): &(u64, u64)| Timing {
                phase: Phase::TCP,
                target: String::new(),
                took: Duration::from_millis(took),
                since: begin + Duration::from_millis(since),
            };
            Phases { timings: spans.iter().map(timing).collect(), ..Phases::default() }.total().as_millis()
        };
        assert_eq!(phases(&[]), 0);
        assert_eq!(phases(&[(0, 10), (10, 20), (50, 5)]), 35);
        assert_eq!(phases(&[(0, 10), (10, 100), (2, 10), (12, 30), (110, 5)]), 115);
        assert_eq!(phases(&[(0, 10), (5, 10)]), 15);
    }
}
