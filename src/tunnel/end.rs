//! What the end of a bridge means to a user.

use super::bridge::End;
use super::frame::Close;
use crate::error::{Error, Problem};

impl End {
    /// What the end means to a user; `None` is an end in good order.
    pub fn error(self) -> Option<Error> {
        let cut = |problem: Problem| Some(Error::Cut { problem });
        match self {
            End::Local | End::PeerEmptied | End::HungUp { .. } => None,
            End::Peer(close) if close.is_normal() => None,
            End::Peer(Close { reason, .. }) if !reason.is_empty() && reason != Close::LOST => {
                Some(Error::Ended { reason })
            }
            End::Peer(close) => cut(format!("it was closed{}", told(&close)).into()),
            End::LocalFailed(source) => {
                Some(Error::LocalIo { what: "the local side of the stream".into(), source })
            }
            End::Cut(error) => cut(error.into()),
            End::Abandoned => cut("its connection ended before all was taken".into()),
            End::Violation(what) => Some(Error::protocol("the gateway", format!("it sent {what}"))),
            End::Silent(after) => Some(Error::Silent { after }),
        }
    }
}

/// The code and the reason of a Close.
fn told(close: &Close) -> String {
    let code = close.code.map_or_else(String::new, |code| format!(" with {code}"));
    if close.reason.is_empty() { code } else { format!("{code}: {}", close.reason) }
}
