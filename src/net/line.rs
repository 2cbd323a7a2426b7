//! What the system tells of a TCP connection, and what it is asked to do for one.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::tunnel::{Keepalive, Line};

/// Probes of an idle connection that stay unanswered before the system ends it.
const PROBES: u32 = 8;

/// How the connection stands.
#[cfg(target_os = "linux")]
pub(super) fn line(stream: &TcpStream) -> Option<Line> {
    use nix::sys::socket::getsockopt;
    use options::{Memory, TcpInfo};

    // linux/include/net/tcp_states.h
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT: [u8; 2] = [4, 5];
    // linux/include/uapi/linux/sock_diag.h
    const WMEM_QUEUED: usize = 5;

    let info = getsockopt(stream, TcpInfo).ok()?;
    // Kernels before 4.12 do not tell.
    let queued = getsockopt(stream, Memory).map_or(0, |memory| memory[WMEM_QUEUED]);
    Some(Line {
        ended: info.state != ESTABLISHED && !FIN_WAIT.contains(&info.state),
        owing: info.unacked > 0 || info.probes > 0,
        queued: queued > 0 || info.unacked > 0,
        answered: Duration::from_millis(info.last_ack_recv.into()),
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn line(_: &TcpStream) -> Option<Line> {
    None
}

/// Has the system probe the connection while it is idle, and end it when `keepalive.dead` has passed without an answer.
pub(super) fn probe(stream: &TcpStream, keepalive: Keepalive) {
    let interval = (keepalive.dead.saturating_sub(keepalive.ping) / PROBES).max(Duration::from_secs(1));
    let idle = keepalive.ping.max(Duration::from_secs(1));
    let probes = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(PROBES);
    // Without it a peer that vanishes once all has been said is noticed later.
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// Whether the system resets the connection when it is closed.
pub(super) fn reset_on_drop(stream: &TcpStream, reset: bool) {
    // What fails here is a socket that is closed already.
    let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
    if !reset {
        // Of a closed connection whose pauses are as long as they may be, the system tries nothing again.
        pause_at_most(stream, DEFAULT_PAUSE);
    }
}

/// Has the system try again soon after an outage.
pub(super) fn retry_soon(stream: &TcpStream) {
    pause_at_most(stream, Duration::from_secs(10));
}

/// Between two tries of what was not acknowledged, where nothing else is set.
const DEFAULT_PAUSE: Duration = Duration::from_secs(120);

#[cfg(target_os = "linux")]
fn pause_at_most(stream: &TcpStream, longest: Duration) {
    let longest = u32::try_from(longest.as_millis()).unwrap_or(u32::MAX);
    // Refused by kernels before 6.15.
    let _ = nix::sys::socket::setsockopt(stream, options::RtoMax, &longest);
}

#[cfg(not(target_os = "linux"))]
fn pause_at_most(_: &TcpStream, _: Duration) {}

#[cfg(target_os = "linux")]
mod options {
    use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

    /// The first part of the kernel's `tcp_info`, which every kernel has (linux/include/uapi/linux/tcp.h).
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct Info {
        pub(super) state: u8,
        _ca_state: u8,
        _retransmits: u8,
        /// Window probes and keepalives that are not answered.
        pub(super) probes: u8,
        _backoff_to_app_limited: [u8; 4],
        _rto_to_rcv_mss: [u32; 4],
        /// Segments.
        pub(super) unacked: u32,
        _sacked_to_fackets: [u32; 4],
        _last_data_sent: u32,
        _last_ack_sent: u32,
        _last_data_recv: u32,
        /// Milliseconds ago.
        pub(super) last_ack_recv: u32,
        _pmtu_to_total_retrans: [u32; 11],
    }

    const RTO_MAX: libc::c_int = 44;
    const MEMORY: libc::c_int = 55;

    sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, Info);
    sockopt_impl!(
        /// `SO_MEMINFO`
        Memory, GetOnly, libc::SOL_SOCKET, MEMORY, [u32; 9]);
    sockopt_impl!(RtoMax, SetOnly, libc::IPPROTO_TCP, RTO_MAX, u32);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_line_tells_what_is_owed_and_who_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut ours, theirs) = (ours.unwrap(), theirs.unwrap().0);
        retry_soon(&ours);
        let new = line(&ours).unwrap();
        assert!(!new.ended && !new.owing && !new.queued, "{new:?}");
        // Until the peer's window is shut and the rest waits here.
        let block = vec![7; 1 << 20];
        while tokio::time::timeout(Duration::from_millis(300), ours.write_all(&block)).await.is_ok() {}
        let full = line(&ours).unwrap();
        assert!(full.queued && !full.ended, "{full:?}");
        drop(theirs);
        while !line(&ours).unwrap().ended {
            tokio::task::yield_now().await;
        }
    }
}
