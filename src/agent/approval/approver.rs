//! Who approved a stream, and why.

use std::fmt;

use serde_json::{Map, Value};

use crate::error::escape;
use crate::platform::process::user_name;

/// Who approves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Approver {
    Terminal,
    Command,
    /// A user of this device, by uid, through the control socket.
    User(u32),
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal => f.write_str("terminal"),
            Self::Command => f.write_str("command"),
            Self::User(uid) => match user_name(*uid) {
                Some(name) => write!(f, "{} (uid {uid})", escape(&name)),
                None => write!(f, "uid {uid}"),
            },
        }
    }
}

/// An approval of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Approval {
    /// What let the stream in: `always`, `ask`, `command`, `control` or `window`.
    pub(in crate::agent) how: &'static str,
    /// `None` where the configuration or an earlier answer to the same request does.
    pub(in crate::agent) by: Option<Approver>,
    pub(in crate::agent) reason: Option<String>,
}

impl Approval {
    pub(in crate::agent) fn configured() -> Self {
        Self { how: "always", by: None, reason: None }
    }

    /// The approval of the same request, which the user has repeated.
    pub(in crate::agent) fn earlier(how: &'static str) -> Self {
        Self { how, by: None, reason: None }
    }

    pub(super) fn at_the_terminal() -> Self {
        Self { how: "ask", by: Some(Approver::Terminal), reason: None }
    }

    pub(super) fn by_command() -> Self {
        Self { how: "command", by: Some(Approver::Command), reason: None }
    }

    pub(in crate::agent) fn by_user(uid: u32, reason: Option<String>) -> Self {
        Self { how: "control", by: Some(Approver::User(uid)), reason }
    }

    /// The fields of the audit log besides [`Self::how`].
    pub(in crate::agent) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(by) = &self.by {
            fields.insert("approver".into(), by.to_string().into());
        }
        if let Some(Approver::User(uid)) = self.by {
            fields.insert("uid".into(), uid.into());
        }
        if let Some(reason) = &self.reason {
            fields.insert("reason".into(), escape(reason).into());
        }
        fields
    }
}

/// `by root (uid 0): the reason`, for the log.
impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some(by) => write!(f, "by {by}")?,
            None => f.write_str("by the configuration")?,
        }
        match &self.reason {
            Some(reason) => write!(f, ": {}", escape(reason)),
            None => Ok(()),
        }
    }
}
