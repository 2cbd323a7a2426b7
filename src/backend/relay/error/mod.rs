//! The errors of a relay and its listeners, at a sender.

mod hint;

use std::time::{Duration, SystemTime};

use super::phase;
use super::preamble;
use super::proto::{Cause, Namespace, OTHER_DEVICE, REJECTION, is_usual};
use crate::backend::skew::Skew;
use crate::error::{CAPTIVE_PORTAL, Exit, Fault, Retry, escape};
use crate::net;
use crate::time::backoff::retry_after;
use crate::time::phase::Phase;

/// The longest reason phrase in an error, in characters. It holds a text, a tracking id, an address and a time.
const LONGEST: usize = 600;

/// An error of Azure Relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The namespace or the listener refused a stream.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// The listener did not agree on azbridge's preamble.
    #[error("hybrid connection '{entity}' at {namespace}: {problem}")]
    Preamble {
        namespace: String,
        entity: String,
        port: String,
        #[source]
        problem: preamble::Refused,
    },
    /// The local clock is too far from the namespace's.
    #[error("the clock here is {skew} the relay's")]
    Skewed { skew: Skew },
}

/// A refused stream.
#[derive(Debug)]
pub(crate) struct Refused {
    pub namespace: String,
    pub entity: String,
    pub device: String,
    pub stream: String,
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The local clock against the namespace's, if the answer has a date.
    pub skew: Option<Skew>,
    /// The server's `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The refusal of `stream`, asked for at `entity`.
    pub(crate) fn new(
        namespace: &Namespace,
        entity: impl ToString,
        device: &str,
        stream: &str,
        answer: &net::Refusal,
    ) -> Self {
        Self {
            namespace: namespace.to_string(),
            entity: entity.to_string(),
            device: device.to_owned(),
            stream: stream.to_owned(),
            status: answer.status,
            reason: bounded(&answer.reason),
            skew: answer.date().map(|there| Skew::measured(SystemTime::now(), there)),
            retry_after: retry_after(&answer.headers),
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        Cause::of(self.status, &self.reason)
    }

    /// The clock's skew, if the namespace refuses tokens because of it.
    fn guilty_skew(&self) -> Option<Skew> {
        self.skew.filter(|skew| self.cause() == Cause::Token && skew.is_too_far())
    }

    /// The text of a rejection, without our agent's mark.
    fn text(&self) -> String {
        escape(self.reason.strip_prefix(REJECTION).unwrap_or(&self.reason).trim())
    }
}

fn bounded(reason: &str) -> String {
    match reason.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { namespace, entity, device, stream, status, .. } = self;
        match self.cause() {
            Cause::Agent if *status == OTHER_DEVICE => {
                return write!(
                    f,
                    "the agent of another device than {device} answered through {namespace}: {}",
                    self.text()
                );
            }
            Cause::Agent => {
                return write!(
                    f,
                    "device {device} rejected the stream '{stream}' through {namespace}: {}",
                    self.text()
                );
            }
            _ if *status == CAPTIVE_PORTAL => {
                return write!(f, "a captive portal answers in place of {namespace} (511)");
            }
            Cause::Listener => write!(f, "the listener at '{entity}' of {namespace} refused the stream"),
            Cause::Foreign => write!(f, "the stream through {namespace} was refused"),
            Cause::NoEntity => write!(f, "there is no hybrid connection '{entity}' at {namespace}"),
            Cause::NoAllowedListener => write!(
                f,
                "the agent of device {device} is not connected to the hybrid connection '{entity}' at {namespace}"
            ),
            Cause::NoListener => write!(
                f,
                "device {device} is not connected to {namespace}, or there is no hybrid connection '{entity}'"
            ),
            Cause::LateListener => write!(f, "device {device} did not answer in time through {namespace}"),
            Cause::Firewall => write!(f, "the IP firewall of {namespace} refuses this machine's address"),
            Cause::NotWebSocket => {
                write!(f, "{namespace} did not get a WebSocket upgrade")
            }
            Cause::Token => write!(f, "{namespace} refuses the credential"),
            Cause::Throttled => write!(f, "{namespace} throttles new streams"),
            Cause::Trouble | Cause::Other => {
                write!(f, "{namespace} answered")?;
                return match is_usual(*status, &self.reason) {
                    true => write!(f, " {status}"),
                    false => write!(f, " {status}: {}", self.text()),
                };
            }
        }?;
        if is_usual(*status, &self.reason) {
            write!(f, " ({status})")
        } else {
            write!(f, " ({status}: {})", self.text())
        }
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl From<Refused> for crate::error::Error {
    fn from(refused: Refused) -> Self {
        Error::Refused(Box::new(refused)).into()
    }
}

impl Fault for Error {
    fn exit(&self) -> Exit {
        use preamble::Refused as Problem;
        let refused = match self {
            Error::Refused(refused) => refused,
            Error::Skewed { .. } => return Exit::Denied,
            Error::Preamble { problem, .. } => {
                return match problem {
                    Problem::UnknownPort | Problem::TakesDatagrams | Problem::TakesStream => {
                        Exit::Unavailable
                    }
                    Problem::Ended(_) | Problem::Late(_) => Exit::Temporary,
                    Problem::LongName => Exit::Usage,
                    Problem::UnknownVersion | Problem::UnknownAnswer(_) | Problem::BadName => Exit::Protocol,
                };
            }
        };
        match refused.cause() {
            Cause::Agent
            | Cause::Listener
            | Cause::NoEntity
            | Cause::NoAllowedListener
            | Cause::NoListener
            | Cause::Throttled => Exit::Unavailable,
            Cause::Firewall | Cause::Token => Exit::Denied,
            Cause::Foreign if matches!(refused.status, 401 | 403) => Exit::Denied,
            Cause::LateListener => Exit::Temporary,
            Cause::Trouble if refused.status == 503 => Exit::Unavailable,
            Cause::Trouble => Exit::Temporary,
            Cause::NotWebSocket | Cause::Foreign | Cause::Other => Exit::Protocol,
        }
    }

    fn hint(&self) -> Option<String> {
        hint::hint(self)
    }

    fn retry(&self) -> Option<Retry> {
        let Error::Refused(refused) = self else { return None };
        let is_worth_it = match refused.cause() {
            Cause::NoEntity
            | Cause::NoAllowedListener
            | Cause::NoListener
            | Cause::LateListener
            | Cause::Throttled
            | Cause::Trouble => true,
            Cause::Agent => refused.status == 429,
            Cause::Listener
            | Cause::Firewall
            | Cause::NotWebSocket
            | Cause::Token
            | Cause::Foreign
            | Cause::Other => false,
        };
        // A relay has no rate of new streams, so that only a user who is ready to wait does.
        is_worth_it.then_some(Retry { is_throttled: false, after: refused.retry_after })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused(refused) => refused.retry_after,
            Error::Skewed { .. } | Error::Preamble { .. } => None,
        }
    }

    fn phase(&self) -> Phase {
        let refused = match self {
            Error::Refused(refused) => refused,
            Error::Preamble { .. } => return phase::DEVICE,
            Error::Skewed { .. } => return phase::RELAY,
        };
        match refused.cause() {
            Cause::Agent
            | Cause::Listener
            | Cause::NoEntity
            | Cause::NoAllowedListener
            | Cause::NoListener
            | Cause::LateListener => phase::DEVICE,
            _ => phase::RELAY,
        }
    }

    fn is_rejection(&self) -> bool {
        // The agent's text says whether it has no such target.
        matches!(self, Error::Refused(refused)
            if refused.cause() == Cause::Agent && refused.text().contains("no target"))
    }
}

#[cfg(test)]
mod tests;
