//! The agent's answers to questions at the control socket.

use std::time::Duration;

use tokio::time::Instant;

use super::Agent;
use crate::agent::approval::{Approval, Approve};
use crate::agent::control::{
    LiveStreamStatus, PendingStatus, Question, Reply, Request, ServiceState, ServiceStatus, Status,
    WindowStatus,
};
use crate::error::escape;
use crate::platform::process;
use crate::text::duration;

impl Agent {
    /// Does what a user asks.
    pub(super) fn answer(&self, question: &Question) -> Reply {
        let done = match &question.request {
            Request::Status => return Reply::Status(Box::new(self.status())),
            Request::Approve { stream, milliseconds, reason } => {
                let approval = Approval::by_user(question.uid, reason.clone());
                self.approve(stream, milliseconds.map(Duration::from_millis), &approval)
            }
            Request::Revoke { stream, cut } => {
                self.revoke(stream.as_deref(), *cut, &Approval::by_user(question.uid, None))
            }
        };
        match done {
            Ok(done) => Reply::Done(done),
            Err((problem, hint)) => Reply::Refused { problem, hint },
        }
    }

    fn approve(&self, stream: &str, length: Option<Duration>, approval: &Approval) -> Answer {
        let target = self.config.target(stream).ok_or_else(|| {
            let targets = self.config.targets.iter().map(|target| escape(&target.name()));
            (
                format!("no target accepts the stream '{stream}'"),
                Some(format!("the targets are {}", targets.collect::<Vec<_>>().join(", "))),
            )
        })?;
        match target.approve {
            Approve::Always => return Err((format!("the stream '{stream}' needs no approval"), None)),
            Approve::Never => {
                let hint = "change it in the agent's configuration, and reload the agent";
                return Err((format!("the target of '{stream}' has approve = \"never\""), Some(hint.into())));
            }
            Approve::Ask { .. } | Approve::Command { .. } => {}
        }
        let approvals = &self.shared.approvals;
        let pending = approvals.pending();
        if length.is_none() && !pending.iter().any(|(_, request)| request.stream == stream) {
            let names: Vec<_> = pending.iter().map(|(_, request)| escape(&request.stream)).collect();
            let what = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            return Err((
                format!("no request for the stream '{stream}' waits for approval; {what} does"),
                Some("--for approves later streams of this name for some time".into()),
            ));
        }
        let (count, length) = approvals
            .approve(stream, &target.address.for_stream(stream).to_string(), length, approval)
            .map_err(|problem| (problem, Some("`iotstream agent revoke STREAM` ends one".to_owned())))?;
        let mut done = Vec::new();
        if count > 0 {
            done.push(format!("{} approved", counted(count, "request")));
        }
        if let Some(length) = length {
            done.push(format!("later streams of this name are approved for {}", duration::show(length)));
        }
        Ok(done.join("; "))
    }

    fn revoke(&self, stream: Option<&str>, cut: bool, by: &Approval) -> Answer {
        let ended = self.shared.approvals.revoke(stream, by).len();
        let why = format!("revoked {by}");
        let cut = if cut {
            self.shared
                .live_streams
                .cut(|live| stream.map_or(live.is_approved, |stream| stream == live.stream), &why)
        } else {
            0
        };
        if let Some(stream) = stream
            && ended + cut == 0
        {
            let windows: Vec<_> =
                self.shared.approvals.windows().into_iter().map(|(name, _)| escape(&name)).collect();
            let open = if windows.is_empty() {
                "there is none".into()
            } else {
                format!("there is {}", windows.join(", "))
            };
            return Err((format!("the stream '{stream}' has no approval window; {open}"), None));
        }
        let mut done = counted(ended, "approval window") + " ended";
        if cut > 0 {
            done += &format!("; {} cut", counted(cut, "stream"));
        }
        Ok(done)
    }

    /// Ends the windows of streams that the configuration no longer allows, or connects to another address.
    pub(super) fn end_windows(&self) {
        self.shared.approvals.keep(|stream, led_to| {
            self.config.target(stream).is_some_and(|target| {
                target.approve != Approve::Never && target.address.for_stream(stream).to_string() == led_to
            })
        });
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let since = |then: Instant| now.saturating_duration_since(then).as_secs();
        let services: Vec<_> = self
            .services
            .iter()
            .map(|service| ServiceStatus {
                device: service.listener.device(),
                hub: service.listener.service(),
                state: service.state,
                status: if service.status.is_empty() { "connecting".into() } else { service.status.clone() },
            })
            .collect();
        let streams = self.shared.live_streams.all().into_iter().map(|(id, live)| LiveStreamStatus {
            id,
            to_user: live.meter.sent(),
            from_user: live.meter.received(),
            seconds: since(live.since),
            stream: live.stream,
            target: live.target,
            requester: live.requester,
        });
        let pending = self.shared.approvals.pending().into_iter().map(|(id, request)| PendingStatus {
            id,
            stream: request.stream,
            target: request.target,
            requester: request.requester,
            approve: request.asked.to_owned(),
            seconds: since(request.since),
            remaining: request.until.saturating_duration_since(now).as_secs(),
        });
        let windows = self.shared.approvals.windows().into_iter().map(|(stream, window)| WindowStatus {
            stream,
            approver: window.approval.by.map(|by| by.to_string()).unwrap_or_default(),
            reason: window.approval.reason,
            remaining: window.until.saturating_duration_since(now).as_secs(),
        });
        Status {
            state: services.iter().map(|service| service.state).max().unwrap_or(ServiceState::Waiting),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            seconds: process::started().elapsed().as_secs(),
            streams: streams.collect(),
            pending: pending.collect(),
            windows: windows.collect(),
            services,
        }
    }
}

/// What was done, or a problem and a hint.
type Answer = Result<String, (String, Option<String>)>;

/// `1 stream`, `2 streams`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
