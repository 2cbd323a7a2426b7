//! The refusals of Azure Resource Manager.

use std::time::Duration;

use serde::Deserialize;

use super::phase::ARM;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT, Exit, Fault, Retry, escape};
use crate::net::{Endpoint, Reply};
use crate::time::backoff::retry_after;
use crate::time::phase::Phase;

/// The longest message in an error, in characters.
const LONGEST: usize = 600;

/// An answer without the result of an action.
#[derive(Debug, thiserror::Error)]
#[error("{server} does not {action}: {status}{}", explanation(code, message))]
pub(super) struct Refusal {
    server: String,
    action: String,
    status: u16,
    code: String,
    message: String,
    retry_after: Option<Duration>,
}

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: Explanation,
}

#[derive(Debug, Default, Deserialize)]
struct Explanation {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    pub(super) fn new(server: &Endpoint, action: &str, reply: &Reply) -> Self {
        let Body { error } = serde_json::from_slice(&reply.body).unwrap_or_default();
        let short = |text: String| text.chars().take(LONGEST).collect();
        Self {
            server: server.authority(),
            action: action.to_owned(),
            status: reply.status,
            code: short(error.code),
            message: short(error.message),
            retry_after: retry_after(&reply.headers),
        }
    }
}

fn explanation(code: &str, message: &str) -> String {
    [code, message].iter().filter(|text| !text.is_empty()).map(|text| format!(", {}", escape(text))).collect()
}

impl From<Refusal> for crate::error::Error {
    fn from(refusal: Refusal) -> Self {
        Self::Backend(Box::new(refusal))
    }
}

impl Fault for Refusal {
    fn exit(&self) -> Exit {
        match self.status {
            401 | 403 => Exit::Denied,
            404 | 429 => Exit::Unavailable,
            408 | 500..=599 => Exit::Temporary,
            _ => Exit::Protocol,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match (self.status, self.retry_after) {
            (_, Some(after)) => format!("try again in {} s, as the server asks", after.as_secs().max(1)),
            (401, _) => "check the token: it must be for https://management.azure.com, and arm-token-command \
                         prints it where token-command prints another"
                .into(),
            (403, _) => "check the role of the token's identity at this resource, and that the token is for \
                         https://management.azure.com; arm-token-command prints it where token-command prints another"
                .into(),
            (404, _) => "check the resource id in the profile".into(),
            (CAPTIVE_PORTAL, _) => CAPTIVE_PORTAL_HINT.into(),
            (408 | 429 | 500..=599, _) => "try again in a minute".into(),
            _ => return None,
        })
    }

    fn retry(&self) -> Option<Retry> {
        None
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn phase(&self) -> Phase {
        ARM
    }

    fn is_rejection(&self) -> bool {
        false
    }
}
