//! Reports a failed connection: in band to ssh, on stderr, and in the state directory.

use std::io::{ErrorKind, IsTerminal};
use std::process::ExitCode;

use super::caller::Caller;
use super::options::Options;
use crate::error::Error;
use crate::logging;
use crate::state::last_failure;
use crate::time::phase::Phases;
use crate::tunnel::{Close, End};

/// The default stream, which leads to an ssh server.
pub(super) const SSH: &str = "ssh";

/// Reports the failure of a connection to `host`, which asked `device`, if that is known.
pub(super) async fn tell(
    host: Option<&str>,
    device: Option<&str>,
    error: &Error,
    phases: &Phases,
    caller: &mut Caller,
    in_band: bool,
) -> ExitCode {
    last_failure::keep(host, device, error, phases);
    if in_band {
        caller.tell(error).await;
    }
    // Before stdout closes, because ssh then ends the helper.
    if in_band && caller.speaks_where_we_do() {
        logging::record(error);
    } else {
        logging::report(error);
    }
    if in_band {
        caller.hear_out().await;
    } else if !matches!(error, Error::Signalled { .. }) {
        caller.close().await;
    }
    error.exit().into()
}

/// Reports an error before the first attempt: of the options `asked`, or of an invalid command line.
pub async fn refuse(asked: Option<&Options>, error: &Error) -> ExitCode {
    // A user at a terminal has lost no connection.
    if std::io::stdin().is_terminal() && asked.is_none() {
        logging::report(error);
        return error.exit().into();
    }
    let host = asked.map(|options| &*options.host);
    let Ok(mut caller) = Caller::take() else {
        last_failure::keep(host, None, error, &Phases::default());
        logging::report(error);
        return error.exit().into();
    };
    let in_band = caller.is_ssh(asked.is_some_and(|options| options.stream_asked() == SSH)).await;
    tell(host, None, error, &Phases::default(), &mut caller, in_band).await
}

/// The error of a stream that ended with nothing `received`: some agents accept first and connect to the target later. The
/// device's reason, if any, takes precedence.
pub(super) fn before_the_first_byte(end: &End, received: u64, stream: &str, is_ssh: bool) -> Option<Error> {
    let is_meant = match end {
        End::Peer(_) | End::PeerEmptied => is_ssh,
        End::PeerFailed(close) => close.reason.is_empty() || close.reason == Close::LOST,
        End::Cut(error) => error.kind() == ErrorKind::UnexpectedEof,
        _ => false,
    };
    (received == 0 && is_meant).then(|| Error::EndedUnused { stream: stream.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: impl Into<Option<u16>>, reason: &str) -> End {
        let close = Close { code: code.into(), reason: reason.into() };
        if close.is_normal() { End::Peer(close) } else { End::PeerFailed(close) }
    }

    #[test]
    fn reports_an_end_before_the_first_byte_unless_the_device_gives_a_reason() {
        for (end, of_ssh, of_another) in [
            (closed(1000, ""), true, false),
            (closed(None, ""), true, false),
            (closed(1011, Close::LOST), true, true),
            (closed(1011, ""), true, true),
            (closed(1011, "no route to host"), false, false),
            (End::Cut(ErrorKind::UnexpectedEof.into()), true, true),
            (End::Cut(ErrorKind::ConnectionReset.into()), false, false),
            (End::Local, false, false),
            (End::PeerEmptied, true, false),
            (End::HungUp { whole: false }, false, false),
        ] {
            for (is_ssh, expected) in [(true, of_ssh), (false, of_another)] {
                let error = before_the_first_byte(&end, 0, "x", is_ssh);
                assert_eq!(error.is_some(), expected, "{end:?}, ssh: {is_ssh}");
                assert!(before_the_first_byte(&end, 1, "x", is_ssh).is_none());
            }
        }
    }
}
