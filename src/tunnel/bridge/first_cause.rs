//! Why a stream ended, from how its pumps ended.

use std::io;

use super::super::end::End;
use super::super::incoming::Down;
use super::up::Up;

/// The first cause of a stream's end. `None` is a pump that was still running when the bridge ended. `undelivered`: data was
/// sent between the peer's end and that of its connection.
pub(super) fn first_cause(
    up: Option<Up>,
    down: Option<Down>,
    one_connection: bool,
    hung_up: bool,
    peer_was_first: bool,
    undelivered: bool,
) -> End {
    match (up, down) {
        (_, Some(Down::Violation(what))) => End::Violation(what),
        // The local side had ended in both directions, which only a write reveals.
        (Some(Up::Eof), Some(Down::LocalFailed(error))) if one_connection && is_gone(&error) => End::Local,
        // A read error explains more than the write error that follows it.
        (Some(Up::LocalFailed(error)), _) | (_, Some(Down::LocalFailed(error))) => End::LocalFailed(error),
        (up, down) if hung_up => {
            let is_over = matches!(down, Some(Down::Closed(_) | Down::Disconnected));
            End::HungUp { whole: is_over && matches!(up, Some(Up::Eof)) && !undelivered }
        }
        (_, Some(Down::Incomplete(problem))) => End::Incomplete(problem),
        (_, Some(Down::ThrownBack)) => End::ThrownBack,
        (_, Some(Down::Failed(close))) => End::PeerFailed(close),
        // Our direction had ended with an error, which the peer's disconnect does not undo.
        (Some(Up::RemoteFailed(error)), Some(Down::Disconnected)) => End::Cut(error),
        // The local side had ended, and our Close was held back.
        (_, Some(Down::Disconnected)) => End::Local,
        (Some(Up::Eof | Up::Drained), Some(Down::Closed(_) | Down::Emptied)) if undelivered => End::Abandoned,
        (Some(Up::Eof), Some(Down::Closed(_) | Down::Emptied | Down::Lingered)) if !peer_was_first => {
            End::Local
        }
        (Some(Up::Eof), Some(Down::Closed(close))) => End::Peer(close),
        (Some(Up::Eof), Some(Down::Emptied)) => End::PeerEmptied,
        // The peer sent its last bytes and disconnected before it received ours.
        (Some(Up::RemoteFailed(_)), Some(Down::Closed(_) | Down::Emptied)) => End::Abandoned,
        (_, Some(Down::RemoteFailed(error))) | (Some(Up::RemoteFailed(error)), _) => End::Cut(error),
        (Some(Up::Drained), Some(Down::Closed(close))) => End::Peer(close),
        (Some(Up::Drained), Some(Down::Emptied)) => End::PeerEmptied,
        (_, Some(Down::Lingered)) => End::Local,
        // The peer disconnected after its Close while the local side was still sending.
        (None, _) | (_, None) => End::Abandoned,
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_after_a_failed_write_is_no_end_in_order() {
        let end = |up| first_cause(Some(up), Some(Down::Disconnected), false, false, false, false);
        let failed = end(Up::RemoteFailed(io::ErrorKind::BrokenPipe.into()));
        assert!(matches!(failed, End::Cut(_)), "{failed:?}");
        assert!(matches!(end(Up::Eof), End::Local));
    }

    #[test]
    fn a_stream_that_is_hung_up_is_whole_if_all_was_delivered() {
        for undelivered in [false, true] {
            let end = first_cause(Some(Up::Eof), Some(Down::Disconnected), false, true, false, undelivered);
            assert!(matches!(end, End::HungUp { whole } if whole != undelivered), "{end:?}");
        }
    }
}
