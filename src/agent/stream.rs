//! One stream, from its offer to its end.

use std::fmt::Write;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::approval::{Approval, Approvals};
use super::audit::Audit;
use super::config::Config;
use super::live_streams::{LiveStream, LiveStreams};
use super::metrics::{Figures, Outcome, Rejected};
use super::stream_limits::{Permit, StreamLimits};
use super::target::{Connection, Facts, Target};
use super::traffic::{Charged, Traffic};
use crate::backend::{Cause, Listener, Offer, Rejection};
use crate::error::Error;
use crate::text::duration;
use crate::tunnel::{self, Close, Controls, Direction, End, Meter, Settings};

/// The time limit for the target to accept the last bytes after the user's end.
const REST: Duration = Duration::from_secs(2);

/// How often an idle stream is checked within its limit.
const IDLE_CHECKS: u32 = 8;

/// The parts of the agent that a stream uses.
pub(super) struct StreamContext {
    /// The listener of the offer.
    pub(super) listener: Arc<dyn Listener>,
    /// The configuration at the time of the offer.
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    /// True when streams must end.
    pub(super) stopping: watch::Receiver<bool>,
}

/// The state that all streams share across changes of the configuration.
pub(super) struct Shared {
    pub(super) audit: Arc<Audit>,
    pub(super) stream_limits: Arc<StreamLimits>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) approvals: Arc<Approvals>,
    pub(super) live_streams: LiveStreams,
    pub(super) figures: Figures,
}

/// Decides on an offer and serves its stream to the end. Connects the target before it accepts and joins the stream, so that
/// an unreachable target is a rejection. The target's first bytes wait in its socket.
pub(super) async fn run(offer: Offer, permit: Permit, context: StreamContext) {
    let StreamContext { listener, config, shared, mut stopping } = context;
    let Offer { stream, id, requester, is_approved, reply } = offer;
    let (device, service) = (listener.device(), listener.service());
    let mut record = shared.audit.stream(&stream);
    record.offered(&device, &service, id.as_deref(), requester.as_deref());
    let facts = Facts {
        id: record.id(),
        stream: &stream,
        device: &device,
        service: &service,
        request_id: id.as_deref(),
        requester: requester.as_deref(),
        target: String::new(),
        pass_environment: &[],
    };
    let admitted = tokio::select! {
        admitted = admit(facts, is_approved, &config, &shared) => admitted,
        () = reply.withdrawn() => {
            shared.figures.rejected(config.target_name(&stream), Rejected::Withdrawn);
            return record.rejected("the offer was withdrawn before the answer");
        }
    };
    let Admitted { target, approval, since, connection } = match admitted {
        Ok(admitted) => admitted,
        Err(rejection) => {
            shared.figures.rejected(config.target_name(&stream), rejection.cause.into());
            record.rejected(&rejection.reason);
            return reply.reject(&rejection);
        }
    };
    record.accepted(&connection.target, &approval);
    let joined = match reply.accept().await {
        Ok(joined) => joined,
        Err(error) => {
            shared.figures.ended(target.name(), Outcome::Failed);
            return record.ended(&error.to_string());
        }
    };
    log::info!("stream '{stream}': open to {}", connection.target);
    record.started();
    shared.figures.opened(since.elapsed());
    let live =
        LiveStream::new(&stream, target, &connection.target, requester.as_deref(), record.meter().clone());
    let entry = shared.live_streams.enter(record.id(), live);
    let limit = OnceLock::new();
    let hangup = async {
        let reached = tokio::select! {
            reached = limits(&config, &shared.traffic, record.meter()) => reached,
            why = entry.is_cut() => why,
            // A dropped sender also stops the streams.
            _ = stopping.wait_for(|stopping| *stopping) => "the agent was stopped".into(),
        };
        let close = Close::new(Close::GOING_AWAY, &*reached);
        let _ = limit.set(reached);
        close
    };
    let settings = Settings {
        keepalive: config.stream_keepalive,
        linger: None,
        // A target may still answer after the user's end.
        drain: None,
        rest: Some(REST),
        half_close: true,
        one_connection: true,
        hold_close: false,
        direction: Some(Direction::Down),
        going_away_is_end: joined.going_away_is_end,
        failed: |error| Close::new(Close::FAILURE, format!("the target failed: {error}")),
        reset: true,
    };
    let Connection { read, mut write, process, .. } = connection;
    write.begin();
    let local = (
        Charged::new(read, &shared.traffic, config.allowance),
        Charged::new(&mut write, &shared.traffic, config.allowance),
    );
    let controls = Controls { hangup, gone: pending(), ends_with_peer: || false };
    let end = tunnel::bridge(local, joined.io, &joined.early, &settings, record.meter(), controls).await;
    let mut reason = reason(&end, limit.get());
    if let (Some(status), false) = (process.status(), matches!(end, End::LocalFailed(_))) {
        let _ = write!(reason, " ({status})");
    }
    drop(entry);
    shared.figures.ended(target.name(), outcome(&end));
    record.ended(&reason);
    // A command counts until it has ended; a TCP target that takes nothing keeps no other stream out.
    let permit = Some(permit).filter(|_| !write.is_tcp());
    write.end(REST).await;
    process.end(&stream).await;
    drop(permit);
}

/// A stream that may be accepted.
struct Admitted<'a> {
    target: &'a Target,
    approval: Approval,
    /// When it was approved.
    since: Instant,
    connection: Connection,
}

/// Asks for approval, unless the user's request has it, and connects the target.
///
/// # Errors
/// Returns why the stream is rejected.
async fn admit<'a>(
    facts: Facts<'a>,
    is_approved: bool,
    config: &'a Config,
    shared: &Shared,
) -> Result<Admitted<'a>, Rejection> {
    let target = target(facts.stream, config)?;
    let address = target.address.for_stream(facts.stream);
    let facts = Facts { target: address.to_string(), pass_environment: &target.pass_environment, ..facts };
    let approval = if is_approved {
        Approval::earlier(target.approve.name())
    } else {
        let limit = config.approve_timeout;
        let decided = target.approve.decide(&facts, &shared.approvals, limit).await;
        decided.map_err(|why| Rejection::new(Cause::Approval, why))?
    };
    let since = Instant::now();
    let connection = address.connect(&facts).await;
    let connection = connection
        .map_err(|problem| Rejection::new(Cause::Target, format!("target {address}: {problem}")))?;
    Ok(Admitted { target, approval, since, connection })
}

fn target<'a>(stream: &str, config: &'a Config) -> Result<&'a Target, Rejection> {
    let none = || Rejection::new(Cause::Target, format!("no target named {stream}"));
    config.target(stream).ok_or_else(none)
}

/// The permit that a stream holds to its end, if it has a target and the limits allow one more.
///
/// # Errors
/// Returns why the stream is rejected at once.
pub(super) fn permit(stream: &str, config: &Config, shared: &Shared) -> Result<Permit, Rejection> {
    let target = target(stream, config)?;
    if shared.traffic.is_spent(config.allowance) {
        return Err(Rejection::new(Cause::Limit, "today's bytes are used up (daily-bytes)"));
    }
    let permit = shared.stream_limits.acquire(&target.name(), config.max_sessions, target.max_sessions);
    permit.map_err(|why| Rejection::new(Cause::Limit, why))
}

/// Resolves when a live stream reaches a limit, with its description.
async fn limits(config: &Config, traffic: &Traffic, meter: &Meter) -> String {
    let within = async |limit: Option<Duration>| match limit {
        Some(limit) => sleep(limit).await,
        None => pending().await,
    };
    tokio::select! {
        limit = idle(config.idle_timeout, meter) => format!("idle for {} (idle-timeout)", duration::show(limit)),
        () = within(config.max_duration) => "its time is up (max-duration)".into(),
        () = traffic.spent() => "today's bytes are used up (daily-bytes)".into(),
    }
}

async fn idle(limit: Option<Duration>, meter: &Meter) -> Duration {
    let Some(limit) = limit else { return pending().await };
    let (mut seen, mut quiet) = (0, 0);
    while quiet < IDLE_CHECKS {
        sleep(limit / IDLE_CHECKS).await;
        let now = meter.sent() + meter.received();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
    limit
}

fn outcome(end: &End) -> Outcome {
    match end {
        End::Local | End::Peer(_) | End::PeerEmptied => Outcome::Completed,
        End::HungUp { .. } => Outcome::EndedByAgent,
        _ => Outcome::Failed,
    }
}

fn reason(end: &End, limit: Option<&String>) -> String {
    match (end, limit) {
        (End::HungUp { .. }, Some(limit)) => limit.clone(),
        (End::HungUp { .. }, None) => "it was hung up".into(),
        (End::Local, _) => "the target ended".into(),
        (End::Peer(Close { code: Some(Close::GOING_AWAY), reason }), _) if !reason.is_empty() => {
            format!("the user ended: {reason}")
        }
        (End::Peer(_), _) => "the user ended".into(),
        (End::PeerFailed(close), _) => match close.code {
            Some(code) => format!("it was closed with {code} {}", close.reason),
            None => "it was closed".into(),
        },
        (End::PeerEmptied, _) => "the user ended: its proxy sends nothing but empty messages".into(),
        (End::LocalFailed(error), _) => format!("the target failed: {error}"),
        (End::Cut(error), _) => format!("the connection to the gateway was lost: {error}"),
        (End::Incomplete(problem), _) => format!("the stream was cut: {problem}"),
        (End::ThrownBack, _) => Error::ThrownBack.to_string(),
        (End::Violation(what), _) => format!("the gateway broke the protocol: {what}"),
        (End::Silent(after), _) => {
            format!("the gateway was silent for {}", duration::show(Duration::from_secs(after.as_secs())))
        }
        (End::Abandoned, _) => "the user has gone".into(),
    }
}
