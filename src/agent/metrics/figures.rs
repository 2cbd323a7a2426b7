//! What the agent counts. No label has the name of a stream, which its user chooses, or says who asks for it.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::agent::live_streams::LiveStreams;
use crate::backend::{Cause, Login};
use crate::time::clock::{UnixSeconds, unix_seconds};

/// The upper ends of the classes of the time of set-up, in seconds.
const SETUP: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// How a stream with a target ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) enum Outcome {
    /// By the user or the target.
    Completed,
    /// By the agent: a limit, a revocation, the agent's own end.
    EndedByAgent,
    Failed,
    Rejected,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::EndedByAgent => "ended-by-agent",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

/// Why a stream was rejected.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) enum Rejected {
    /// No target has its name.
    NoTarget,
    /// The target cannot be reached.
    Target,
    Approval,
    Limit,
    /// The service took the offer back.
    Withdrawn,
    /// The offer cannot be used.
    Unusable,
}

impl Rejected {
    fn name(self) -> &'static str {
        match self {
            Self::NoTarget => "no-target",
            Self::Target => "target",
            Self::Approval => "approval",
            Self::Limit => "limit",
            Self::Withdrawn => "withdrawn",
            Self::Unusable => "unusable",
        }
    }
}

impl From<Cause> for Rejected {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Target => Self::Target,
            Cause::Approval => Self::Approval,
            Cause::Limit => Self::Limit,
        }
    }
}

/// The figures, since the agent's start.
pub(in crate::agent) struct Figures {
    registry: Registry,
    streams: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    rejected: Family<Labels, Counter>,
    setup: Histogram,
    live: Gauge,
    connections: Family<Labels, Counter>,
    renewals: Family<Labels, Counter>,
    connected: Family<Labels, Gauge>,
    last_login: Family<Labels, Gauge>,
    credential_ends: Family<Labels, Gauge>,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

impl Figures {
    pub(in crate::agent) fn new() -> Self {
        let mut all = Registry::with_prefix("iotstream_agent");
        let build: Family<Labels, Gauge> =
            add(&mut all, "build_info", "The version of the program", Family::default());
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        Self {
            streams: add(
                &mut all,
                "streams",
                "Streams that have ended, by configured target and outcome",
                Family::default(),
            ),
            bytes: add(
                &mut all,
                "stream_bytes",
                "Payload bytes of streams, by configured target and direction",
                Family::default(),
            ),
            rejected: add(&mut all, "rejected", "Streams that were rejected, by reason", Family::default()),
            setup: add(
                &mut all,
                "setup_seconds",
                "Time from a stream's approval until it is open",
                Histogram::new(SETUP),
            ),
            live: add(&mut all, "live_streams", "Open streams", Gauge::default()),
            connections: add(
                &mut all,
                "hub_connections",
                "Connections to the service that were made",
                Family::default(),
            ),
            renewals: add(
                &mut all,
                "renewals",
                "Connections or tokens that were renewed before their end",
                Family::default(),
            ),
            connected: add(&mut all, "connected", "Whether the agent is in service", Family::default()),
            last_login: add(
                &mut all,
                "last_login_timestamp_seconds",
                "Time of the last login",
                Family::default(),
            ),
            credential_ends: add(
                &mut all,
                "credential_expiry_timestamp_seconds",
                "End of a certificate or of a given token; absent where the agent signs its own",
                Family::default(),
            ),
            registry: all,
        }
    }

    /// Counts a stream of the configured target `target` that has ended.
    pub(in crate::agent) fn ended(&self, target: String, outcome: Outcome) {
        let labels = vec![("target", target), ("outcome", outcome.name().to_owned())];
        self.streams.get_or_create(&labels).inc();
    }

    /// Counts a stream that is rejected; `target` is its configured target, if it has one.
    pub(in crate::agent) fn rejected(&self, target: Option<String>, why: Rejected) {
        self.rejected.get_or_create(&vec![("reason", why.name().to_owned())]).inc();
        if let Some(target) = target {
            self.ended(target, Outcome::Rejected);
        }
    }

    /// Notes the time that a stream took to open.
    pub(in crate::agent) fn opened(&self, took: Duration) {
        self.setup.observe(took.as_secs_f64());
    }

    /// Counts a login at the service `hub`.
    pub(in crate::agent) fn logged_in(&self, hub: &str, login: Login) {
        let labels = vec![("hub", hub.to_owned())];
        self.connections.get_or_create(&labels).inc();
        let seconds = |time: UnixSeconds| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.last_login.get_or_create(&labels).set(seconds(unix_seconds(SystemTime::now())));
        match login.credential_ends {
            Some(end) => _ = self.credential_ends.get_or_create(&labels).set(seconds(end)),
            None => _ = self.credential_ends.remove(&labels),
        }
        if login.is_renewal {
            self.renewed(hub);
        }
    }

    /// Counts a renewal at the service `hub`.
    pub(in crate::agent) fn renewed(&self, hub: &str) {
        self.renewals.get_or_create(&vec![("hub", hub.to_owned())]).inc();
    }

    /// Notes which services are connected, in place of all earlier ones.
    pub(in crate::agent) fn connected(&self, services: impl Iterator<Item = (String, bool)>) {
        self.connected.clear();
        for (hub, is_connected) in services {
            self.connected.get_or_create(&vec![("hub", hub)]).set(is_connected.into());
        }
    }

    /// All figures as text.
    pub(in crate::agent) fn render(&self, live: &LiveStreams, format: Format) -> String {
        let (count, bytes) = live.totals();
        self.live.set(i64::try_from(count).unwrap_or(i64::MAX));
        for (target, (to_user, from_user)) in bytes {
            for (direction, total) in [("to-user", to_user), ("from-user", from_user)] {
                let labels = vec![("target", target.clone()), ("direction", direction.to_owned())];
                self.bytes.get_or_create(&labels).inner().store(total, Relaxed);
            }
        }
        let mut rendered = String::new();
        let written = match format {
            Format::Text => prometheus_text::encode(&mut rendered, &self.registry),
            Format::OpenMetrics => text::encode(&mut rendered, &self.registry),
        };
        if written.is_err() {
            log::error!("the figures cannot be written as text");
        }
        rendered
    }
}

/// Adds a metric to the registry.
fn add<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn figures_are_rendered_in_both_formats() {
        let figures = Figures::new();
        figures.ended("tcp-*".into(), Outcome::Completed);
        figures.rejected(Some("a\"b\n".into()), Rejected::Approval);
        figures.rejected(None, Rejected::NoTarget);
        figures.opened(Duration::from_millis(30));
        let login = |ends| Login { is_renewal: true, credential_ends: ends };
        figures.logged_in("hub-1", login(Some(UnixSeconds(2_000_000_000))));
        figures.connected([("hub-1".into(), true), ("hub-2".into(), false)].into_iter());
        figures.bytes.get_or_create(&vec![("target", "a".to_owned())]).inc();
        let text = figures.render(&LiveStreams::default(), Format::Text);
        for line in [
            "# TYPE iotstream_agent_streams_total counter",
            "iotstream_agent_streams_total{target=\"tcp-*\",outcome=\"completed\"} 1",
            "iotstream_agent_streams_total{target=\"a\\\"b\\n\",outcome=\"rejected\"} 1",
            "iotstream_agent_rejected_total{reason=\"no-target\"} 1",
            "iotstream_agent_setup_seconds_bucket{le=\"0.05\"} 1",
            "iotstream_agent_connected{hub=\"hub-2\"} 0",
            "iotstream_agent_renewals_total{hub=\"hub-1\"} 1",
            "iotstream_agent_credential_expiry_timestamp_seconds{hub=\"hub-1\"} 2000000000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let open = figures.render(&LiveStreams::default(), Format::OpenMetrics);
        assert!(
            open.contains("# TYPE iotstream_agent_streams counter\n") && open.ends_with("# EOF\n"),
            "{open}"
        );
        // The manual has each figure, and no other.
        let page = include_str!("../../../man/iotstream-agent.1").split("iotstream_agent_").skip(1);
        let is_end = |c: char| !c.is_ascii_lowercase() && c != '_';
        let described: BTreeSet<&str> = page.filter_map(|rest| rest.split(is_end).next()).collect();
        let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE iotstream_agent_"));
        let named: BTreeSet<&str> = named.filter_map(|rest| rest.split(' ').next()).collect();
        assert_eq!(named, described);
        // A key takes the place of a certificate, and a service is removed.
        figures.logged_in("hub-1", login(None));
        figures.connected([("hub-1".into(), true)].into_iter());
        let text = figures.render(&LiveStreams::default(), Format::Text);
        assert!(
            !text.contains("timestamp_seconds{hub=\"hub-1\"} 2000000000") && !text.contains("hub-2"),
            "{text}"
        );
    }
}
