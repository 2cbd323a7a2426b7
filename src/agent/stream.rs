//! One stream, from its offer to its end.

use std::fmt::Write;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::approval::Terminal;
use super::audit::Audit;
use super::config::Config;
use super::environment::Facts;
use super::sessions::{Permit, Sessions};
use super::target::{Connection, Target};
use super::traffic::{Charged, Traffic};
use crate::backend::iothub::proto::{Decision, Offer};
use crate::net::{Network, WssUrl};
use crate::text::duration;
use crate::time::phase::Phases;
use crate::tunnel::{self, Close, Controls, End, Meter, Settings};

/// How long the target may take what is left once the user's connection has ended.
const REST: Duration = Duration::from_secs(2);

/// An idle stream is looked at this often within its limit.
const IDLE_CHECKS: u32 = 8;

/// What streams need of the agent.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// As it was when the stream was offered.
    pub(super) config: Arc<Config>,
    pub(super) network: Network,
    pub(super) shared: Arc<Shared>,
    /// True once streams are to end.
    pub(super) stopping: watch::Receiver<bool>,
}

/// What all streams share, whatever becomes of the configuration.
pub(super) struct Shared {
    pub(super) audit: Arc<Audit>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) terminal: Terminal,
}

/// Decides, and connects the target before it accepts and joins: a service that is down is a rejection, and no byte of
/// it is lost, for they wait in its socket.
///
/// `answers` leads to the session with the hub that the offer came from, and is held until the answer is out: the same
/// request in another session may be another's.
pub(super) async fn run(offer: Offer, answers: mpsc::Sender<String>, surroundings: Surroundings) {
    let Surroundings { config, network, shared, mut stopping } = surroundings;
    let mut trail = shared.audit.stream(&offer.stream);
    trail.offered(&config.identity().client_id(), &config.hub().to_string());
    let admitted = tokio::select! {
        admitted = admit(trail.id(), &offer.stream, &config, &shared) => admitted,
        () = answers.closed() => Err("the session with the hub ended before the answer".into()),
    };
    let (target, _permit, connection) = match admitted {
        Ok(admitted) => admitted,
        Err(why) => {
            trail.rejected(&why);
            // The hub does not wait any more when nobody takes the answer.
            let _ = answers.send(offer.answer(Decision::Reject)).await;
            return;
        }
    };
    trail.accepted(&target.address.to_string(), target.approve.name());
    let answer = offer.answer(Decision::Accept);
    let accept = async move { answers.send(answer).await };
    let mut phases = Phases::default();
    let join = async {
        let url = WssUrl::of_stream(&offer.url)?;
        crate::backend::iothub::gateway::join(&network, &url, &offer.token, &mut phases).await
    };
    let (_, joined) = tokio::join!(accept, join);
    let websocket = match joined {
        Ok(websocket) => websocket,
        Err(error) => return trail.ended(&error.to_string()),
    };
    log::info!("stream '{}': open to {}", offer.stream, target.address);
    trail.started();
    let limit = OnceLock::new();
    let hangup = async {
        let reached = tokio::select! {
            reached = limits(&config, &shared.traffic, trail.meter()) => reached,
            // An agent that is gone altogether stops its streams as well.
            _ = stopping.wait_for(|stopping| *stopping) => "the agent was stopped".into(),
        };
        let close = Close::new(Close::GOING_AWAY, &*reached);
        let _ = limit.set(reached);
        close
    };
    let settings = Settings {
        keepalive: config.stream_keepalive,
        linger: None,
        // A service that has been told of the end may still have an answer.
        drain: None,
        rest: Some(REST),
        half_close: true,
        failed: |error| Close::new(Close::FAILURE, format!("the target failed: {error}")),
        reset: true,
    };
    let local = (
        Charged::new(connection.read, &shared.traffic, config.allowance),
        Charged::new(connection.write, &shared.traffic, config.allowance),
    );
    let controls = Controls { hangup, gone: pending() };
    let end = tunnel::bridge(local, websocket.io, &websocket.early, &settings, trail.meter(), controls).await;
    let mut reason = reason(&end, limit.get());
    if let (Some(status), false) = (connection.process.status(), matches!(end, End::LocalFailed(_))) {
        let _ = write!(reason, " ({status})");
    }
    trail.ended(&reason);
    connection.process.end(&offer.stream).await;
}

/// Counts the stream, asks for approval and connects the target.
///
/// # Errors
/// Why the stream is rejected.
async fn admit<'a>(
    id: u64,
    stream: &str,
    config: &'a Config,
    shared: &Shared,
) -> Result<(&'a Target, Permit, Connection), String> {
    let target = config.target(stream).ok_or("no target has that name")?;
    if shared.traffic.is_spent(config.allowance) {
        return Err("today's bytes are used up (daily-bytes)".into());
    }
    let permit = shared.sessions.enter(&target.stream, config.max_sessions, target.max_sessions)?;
    let facts = Facts {
        id,
        stream,
        target: target.address.to_string(),
        identity: config.identity(),
        hub: config.hub(),
        pass_environment: &target.pass_environment,
    };
    target.approve.decide(&facts, &shared.terminal, config.approve_timeout).await?;
    let connection = target.address.connect(&facts).await;
    let connection = connection.map_err(|problem| format!("target {}: {problem}", target.address))?;
    Ok((target, permit, connection))
}

/// Resolves once a live stream has reached a limit: which.
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

fn reason(end: &End, limit: Option<&String>) -> String {
    match (end, limit) {
        (End::HungUp { .. }, Some(limit)) => limit.clone(),
        (End::HungUp { .. }, None) => "it was hung up".into(),
        (End::Local, _) => "the target ended".into(),
        (End::Peer(close), _) if close.is_normal() => "the user ended".into(),
        (End::Peer(close), _) => match close.code {
            Some(code) => format!("it was closed with {code} {}", close.reason),
            None => "it was closed".into(),
        },
        (End::PeerEmptied, _) => "the user ended: its proxy sends nothing but empty messages".into(),
        (End::LocalFailed(error), _) => format!("the target failed: {error}"),
        (End::Cut(error), _) => format!("the connection to the gateway was lost: {error}"),
        (End::Violation(what), _) => format!("the gateway broke the protocol: {what}"),
        (End::Silent(after), _) => {
            format!("the gateway was silent for {}", duration::show(Duration::from_secs(after.as_secs())))
        }
        (End::Abandoned, _) => "the user has gone".into(),
    }
}
