//! Why a stream ended, and the error that a user sees.

use std::io;
use std::time::Duration;

use super::frame::Close;
use crate::error::{Error, Problem};

/// Why a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both directions ended in order, the local side's first.
    Local,
    /// The peer closed first, in order. All its data was delivered, and all local data was sent.
    Peer(Close),
    /// The peer closed with the code of a failure. All its data was delivered.
    PeerFailed(Close),
    /// Like [`Self::Peer`], but the peer ended with a run of empty messages.
    PeerEmptied,
    /// Reading or writing the local side failed.
    LocalFailed(io::Error),
    /// The connection ended without a Close, within a message, or before all data was sent.
    Cut(io::Error),
    /// The peer's Close shows that data was lost. The text says what.
    Incomplete(String),
    /// Our own Close came back before the peer's.
    ThrownBack,
    /// The peer broke the protocol.
    Violation(&'static str),
    /// The peer acknowledged nothing, or answered no ping, for this long.
    Silent(Duration),
    /// The peer's connection ended, and the local side did not end or accept the remaining data in time.
    Abandoned,
    /// The caller ended the stream. `whole`: both directions had ended in order.
    HungUp {
        /// No data was lost.
        whole: bool,
    },
}

impl End {
    /// The error to report; `None` for an orderly end.
    pub(crate) fn error(self) -> Option<Error> {
        let cut = |problem: Problem| Some(Error::Cut { problem });
        match self {
            End::Local | End::Peer(_) | End::PeerEmptied | End::HungUp { .. } => None,
            End::PeerFailed(Close { reason, .. }) if !reason.is_empty() && reason != Close::LOST => {
                Some(Error::Ended { reason })
            }
            End::PeerFailed(close) => cut(format!("it was closed{}", told(&close)).into()),
            End::LocalFailed(source) => {
                Some(Error::LocalIo { what: "the local side of the stream".into(), source })
            }
            End::Cut(error) => cut(error.into()),
            End::Incomplete(problem) => cut(problem.into()),
            End::ThrownBack => Some(Error::ThrownBack),
            End::Abandoned => cut("its connection ended before all was taken".into()),
            End::Violation(what) => Some(Error::protocol("the gateway", format!("it sent {what}"))),
            End::Silent(after) => Some(Error::Silent { after }),
        }
    }
}

/// The code and reason of a Close, for the error.
fn told(close: &Close) -> String {
    let code = close.code.map_or_else(String::new, |code| format!(" with {code}"));
    if close.reason.is_empty() { code } else { format!("{code}: {}", close.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_s_reason_is_the_error_unless_it_says_no_more_than_the_code() {
        let error = |reason: &str| End::PeerFailed(Close::new(Close::FAILURE, reason)).error().unwrap();
        assert!(matches!(error("the disk is full"), Error::Ended { reason } if reason == "the disk is full"));
        for (reason, told) in [("", "closed with 1011"), (Close::LOST, "closed with 1011: ")] {
            let error = error(reason);
            assert!(matches!(error, Error::Cut { .. }) && error.to_string().contains(told), "{error}");
        }
    }
}
