//! The state of a TCP connection.

use std::time::Duration;

/// The state of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// The peer has closed its side, or the connection is lost.
    pub closed: bool,
    /// The peer has not acknowledged data or a window probe yet.
    pub unacknowledged: bool,
    /// The peer has not acknowledged all of our data, whether it was sent or not.
    pub queued: bool,
    /// The system sends data again, and none of it has been acknowledged since, except behind a gap.
    pub repeats: bool,
    /// How many segments have been acknowledged behind a gap.
    pub behind_gap: u32,
    /// Time since the last acknowledgement, which may be of nothing new: every segment of the peer's has one.
    pub last_ack: Duration,
}
