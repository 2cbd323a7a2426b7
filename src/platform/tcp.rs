//! TCP options and the state of a TCP connection.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use super::extra::tcp;
pub(crate) use super::extra::tcp::{info, unacknowledged};

/// Keepalive probes without an answer after which the system ends an idle connection.
const PROBES: u32 = 8;

/// The longest pause between two retransmissions after an outage.
const RETRANSMIT_WITHIN: Duration = Duration::from_secs(10);

/// The same where nothing is set.
const DEFAULT_RETRANSMIT_WITHIN: Duration = Duration::from_secs(120);

/// Unsent bytes that the kernel accepts: more would only queue in front of the next keystroke.
const UNSENT_LIMIT: u32 = 32 * 1024;

/// The segment size on loopback, in bytes. What a local service's kernel holds for us grows with it, and is 64 KiB by
/// default.
const LOOPBACK_SEGMENT: u32 = 1460;

/// Sets the options that ssh sets on its sockets.
pub(crate) fn set_interactive(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // Each is an improvement: a connection without it is better than none.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(true);
    tcp::limit_unsent(stream, UNSENT_LIMIT);
    tcp::retransmit_within(stream, RETRANSMIT_WITHIN);
}

/// Has the system probe the connection once it has been idle for `idle`, and end it when there is no answer for
/// `patience` more.
pub(crate) fn probe(stream: &TcpStream, idle: Duration, patience: Duration) {
    let second = Duration::from_secs(1);
    let interval = (patience / PROBES).max(second);
    let probes = TcpKeepalive::new().with_time(idle.max(second)).with_interval(interval).with_retries(PROBES);
    // Without probes, a peer that vanishes while nothing is under way is noticed later.
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// Sets whether the system resets the connection when it is closed.
pub(crate) fn reset_on_close(stream: &TcpStream, reset: bool) {
    // It fails only for a socket that is closed already.
    let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
    if !reset {
        // The system never retransmits on a closed connection whose pauses have reached the set maximum.
        tcp::retransmit_within(stream, DEFAULT_RETRANSMIT_WITHIN);
    }
}

/// Has the kernel hold about `bytes` of what a local service sends before the agent reads it.
pub(crate) fn limit_received(socket: &TcpSocket, bytes: u32) {
    // Each is an improvement.
    let _ = socket.set_recv_buffer_size(bytes);
    tcp::set_segment_size(socket, LOOPBACK_SEGMENT);
}

/// Sets the size of the receive buffer of an open connection.
pub(crate) fn set_receive_buffer(stream: &TcpStream, bytes: usize) {
    let _ = SockRef::from(stream).set_recv_buffer_size(bytes);
}
