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
    /// Time since the last acknowledgement.
    pub last_ack: Duration,
}
