//! The errors of a listener.

use std::time::{Duration, SystemTime};

use super::channel::{LONGEST_MESSAGE, Lost};
use super::credential::ListenCredential;
use crate::backend::relay::phase::{GATEWAY, RELAY};
use crate::backend::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, CAPTIVE_PORTAL_HINT, Exit, Fault, Problem, Retry};
use crate::net::Refusal;
use crate::text::duration;
use crate::time::backoff::retry_after;
use crate::time::phase::Phase;

/// The characters of a foreign reason that are kept.
const LONGEST_REASON: usize = 400;

/// An error of Azure Relay at its listener.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The service refused the control channel.
    #[error("{namespace} refuses a listener at '{entity}' with {}", answer(*status, reason))]
    Refused {
        namespace: String,
        entity: String,
        status: u16,
        /// The reason phrase, with the service's tracking id \[P].
        reason: String,
        retry_after: Option<Duration>,
        /// Set if the local clock is too far off.
        skew: Option<Skew>,
    },
    /// The local clock is too far from the service's.
    #[error("the clock here is {skew} the relay's")]
    Skewed { skew: Skew },
    /// The service closed the control channel.
    #[error("{namespace} closed the control channel of '{entity}' with {}", code.map_or("no code".into(), |code| answer(code, reason)))]
    Closed { namespace: String, entity: String, code: Option<u16>, reason: String },
    /// A gateway refused to meet us.
    #[error("gateway: {server} refused the stream with {}", answer(*status, reason))]
    Gateway { server: String, status: u16, reason: String },
}

impl Error {
    /// The service's answer to the request for a control channel.
    pub(super) fn refused(credential: &ListenCredential, refusal: &Refusal) -> Self {
        Self::Refused {
            namespace: credential.namespace.to_string(),
            entity: credential.entity.to_string(),
            status: refusal.status,
            reason: short(&refusal.reason),
            retry_after: retry_after(&refusal.headers),
            skew: refusal.date().and_then(|date| Skew::between(SystemTime::now(), date)),
        }
    }

    /// A gateway's answer.
    pub(super) fn gateway(refusal: &Refusal) -> Self {
        let server = refusal.server.to_string();
        Self::Gateway { server, status: refusal.status, reason: short(&refusal.reason) }
    }

    /// Whether the credential or the hybrid connection must change before another try can succeed.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403 | 404, .. })
    }

    /// Whether the service ended the channel after its longest life of a day, as it always does.
    pub(super) fn is_daily(&self) -> bool {
        matches!(self, Self::Closed { reason, .. } if reason.contains("NameRenewalFailed"))
    }
}

/// A number and the service's explanation, which may be empty.
fn answer(number: u16, reason: &str) -> String {
    if reason.is_empty() { number.to_string() } else { format!("{number} {reason}") }
}

fn short(reason: &str) -> String {
    reason.chars().take(LONGEST_REASON).collect()
}

/// Translates the end of a control channel.
pub(super) fn lost(credential: &ListenCredential, lost: Lost) -> crate::error::Error {
    let namespace = credential.namespace.to_string();
    let network = |problem: Problem| crate::error::Error::network(RELAY, &namespace, problem);
    match lost {
        Lost::Closed(code, reason) => {
            let (namespace, entity) = (namespace, credential.entity.to_string());
            Error::Closed { namespace, entity, code, reason: short(&reason) }.into()
        }
        Lost::Cut(error) => network(Problem::because(format!("the control channel was cut: {error}"), error)),
        Lost::Silent(after) => network(format!("no answer to a ping for {}", duration::show(after)).into()),
        Lost::TooLong => {
            let problem = format!("a control message is longer than {LONGEST_MESSAGE} bytes");
            crate::error::Error::protocol(format!("the relay {namespace}"), problem)
        }
        Lost::Violation(problem) => crate::error::Error::protocol(format!("the relay {namespace}"), problem),
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused { status, .. } | Self::Gateway { status, .. } => match status {
                401 | 403 => Exit::Denied,
                404 => Exit::Config,
                408 | 429 | 500..=599 => Exit::Temporary,
                _ => Exit::Protocol,
            },
            Self::Closed { .. } => Exit::Temporary,
            Self::Skewed { .. } => Exit::Denied,
        }
    }

    fn hint(&self) -> Option<String> {
        const TRIES: &str = "the agent keeps trying";
        let hint = match self {
            Self::Refused { status: 401 | 403, skew: Some(skew), .. } | Self::Skewed { skew } => {
                return Some(skew.hint("relay"));
            }
            Self::Refused { status: 401, reason, .. } if is_firewall(reason) => {
                "add this address to the namespace's IP firewall"
            }
            Self::Refused { status: 401 | 403, .. } => {
                "check the key or the role: it needs Listen on this hybrid connection"
            }
            Self::Refused { status: 404, .. } => {
                "check the name, or create it: az relay hyco create --namespace-name NAMESPACE --name ENTITY"
            }
            Self::Refused { status: 400, .. } => {
                "check for a proxy that removes the Upgrade header of WebSockets"
            }
            Self::Refused { status: CAPTIVE_PORTAL, .. } => CAPTIVE_PORTAL_HINT,
            Self::Closed { code: Some(1001), .. } => {
                "check that the hybrid connection still exists and is enabled"
            }
            Self::Closed { code: Some(1008), .. } => "check the token's life, and this machine's clock",
            Self::Refused { .. } | Self::Closed { .. } => TRIES,
            Self::Gateway { .. } => return None,
        };
        Some(hint.into())
    }

    fn retry(&self) -> Option<Retry> {
        let status = match self {
            Self::Refused { status, .. } | Self::Gateway { status, .. } => *status,
            Self::Closed { .. } | Self::Skewed { .. } => return None,
        };
        let is_worth_it = matches!(status, 429 | 500..=599);
        is_worth_it.then(|| Retry { is_throttled: status == 429, after: self.retry_after() })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Closed { .. } | Self::Gateway { .. } | Self::Skewed { .. } => None,
        }
    }

    fn phase(&self) -> Phase {
        match self {
            Self::Gateway { .. } => GATEWAY,
            Self::Refused { .. } | Self::Closed { .. } | Self::Skewed { .. } => RELAY,
        }
    }

    fn is_rejection(&self) -> bool {
        false
    }
}

/// Whether the reason is the namespace's IP firewall, as reported for its refusals.
fn is_firewall(reason: &str) -> bool {
    reason.to_ascii_lowercase().contains("ip has been prevented")
}
