//! The questions to an agent, and its answers.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit};

/// What a command asks of the agent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    Status,
    /// Approves what waits for an approval, and later streams of the same name.
    Approve {
        stream: String,
        /// How long to let in later streams of this name.
        milliseconds: Option<u64>,
        reason: Option<String>,
    },
    /// Ends the approval window of a stream, or every window.
    Revoke {
        stream: Option<String>,
        /// Whether to end live streams, too.
        cut: bool,
    },
}

/// What the agent answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Status(Box<Status>),
    /// It is done, in words.
    Done(String),
    Refused {
        problem: String,
        hint: Option<String>,
    },
    /// The user may not ask.
    Denied,
}

/// Whether a service can offer streams.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    InService,
    /// The agent connects, or the service is away.
    Waiting,
    /// The agent keeps trying, but somebody has to correct something.
    OutOfService,
}

impl ServiceState {
    /// The state after `error`.
    pub(in crate::agent) fn after(error: &Error) -> Self {
        match error.exit() {
            Exit::Config | Exit::Denied | Exit::Usage => Self::OutOfService,
            _ => Self::Waiting,
        }
    }
}

/// What the agent does. Durations are in whole seconds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The state of the service that is the worst.
    pub state: ServiceState,
    pub version: String,
    pub pid: u32,
    pub seconds: u64,
    pub services: Vec<ServiceStatus>,
    pub streams: Vec<LiveStreamStatus>,
    pub pending: Vec<PendingStatus>,
    pub windows: Vec<WindowStatus>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceStatus {
    pub device: String,
    pub hub: String,
    pub state: ServiceState,
    /// The state in words.
    pub status: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LiveStreamStatus {
    /// The number in the audit log.
    pub id: u64,
    pub stream: String,
    pub target: String,
    pub requester: Option<String>,
    pub to_user: u64,
    pub from_user: u64,
    pub seconds: u64,
}

/// A stream that waits for approval.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PendingStatus {
    pub id: u64,
    pub stream: String,
    pub target: String,
    pub requester: Option<String>,
    /// The target's `approve`: `ask` or `command`.
    pub approve: String,
    pub seconds: u64,
    /// How long an answer may still take.
    pub remaining: u64,
}

/// A stream's approval window.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WindowStatus {
    pub stream: String,
    pub approver: String,
    pub reason: Option<String>,
    pub remaining: u64,
}
