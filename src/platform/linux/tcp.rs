//! Socket options of Linux.

use std::fs;
use std::time::Duration;

use nix::sys::socket::{getsockopt, setsockopt};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

use crate::platform::tcp_info::TcpInfo;

/// The state of the connection.
pub(crate) fn info(stream: &TcpStream) -> Option<TcpInfo> {
    // linux/include/net/tcp_states.h
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT: [u8; 2] = [4, 5];
    // linux/include/uapi/linux/sock_diag.h
    const WMEM_QUEUED: usize = 5;

    let info = getsockopt(stream, option::TcpInfo).ok()?;
    // Unknown to kernels before 4.12.
    let queued = getsockopt(stream, option::MemInfo).map_or(0, |memory| memory[WMEM_QUEUED]);
    Some(TcpInfo {
        closed: info.state != ESTABLISHED && !FIN_WAIT.contains(&info.state),
        unacknowledged: info.unacked > 0 || info.probes > 0,
        queued: queued > 0 || info.unacked > 0,
        repeats: info.retransmits > 0,
        behind_gap: info.sacked,
        last_ack: Duration::from_millis(info.last_ack_recv.into()),
    })
}

/// Limits the unsent bytes that the kernel accepts.
pub(crate) fn limit_unsent(stream: &TcpStream, bytes: u32) {
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(bytes);
}

/// Limits the pause between two retransmissions.
pub(crate) fn retransmit_within(stream: &TcpStream, longest: Duration) {
    let longest = u32::try_from(longest.as_millis()).unwrap_or(u32::MAX);
    // Kernels before 6.15 refuse it.
    let _ = setsockopt(stream, option::RtoMax, &longest);
}

/// Sets the size of the segments that the peer sends. To be called before the socket connects.
pub(crate) fn set_segment_size(socket: &TcpSocket, bytes: u32) {
    let _ = SockRef::from(socket).set_tcp_mss(bytes);
}

/// How many bytes the peer's kernel has not acknowledged. The ioctl that tells it has no safe binding.
pub(crate) fn unacknowledged(stream: &TcpStream) -> Option<u64> {
    let inode = rustix::fs::fstat(stream).ok()?.st_ino.to_string();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (queue, _) = fields.get(4)?.split_once(':')?;
            (*fields.get(9)? == inode).then(|| u64::from_str_radix(queue, 16).ok()).flatten()
        })
    })
}

mod option {
    use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

    /// The first part of the kernel's `tcp_info`, which every kernel has (linux/include/uapi/linux/tcp.h).
    #[allow(unreachable_pub, reason = "the macro makes the option public, and with it this")]
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct Info {
        pub(super) state: u8,
        _ca_state: u8,
        /// Timeouts in a row without a new acknowledgement.
        pub(super) retransmits: u8,
        /// Window probes and keepalive probes without an answer.
        pub(super) probes: u8,
        _backoff_to_app_limited: [u8; 4],
        _rto_to_rcv_mss: [u32; 4],
        /// In segments.
        pub(super) unacked: u32,
        /// In segments.
        pub(super) sacked: u32,
        _lost_to_fackets: [u32; 3],
        _last_data_sent: u32,
        _last_ack_sent: u32,
        _last_data_recv: u32,
        /// In milliseconds, before now.
        pub(super) last_ack_recv: u32,
        _pmtu_to_total_retrans: [u32; 11],
    }

    const TCP_RTO_MAX_MS: libc::c_int = 44;
    const SO_MEMINFO: libc::c_int = 55;

    sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, Info);
    sockopt_impl!(MemInfo, GetOnly, libc::SOL_SOCKET, SO_MEMINFO, [u32; 9]);
    sockopt_impl!(RtoMax, SetOnly, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn info_shows_queued_bytes_and_a_closed_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut ours, theirs) = (ours.unwrap(), theirs.unwrap().0);
        retransmit_within(&ours, Duration::from_secs(10));
        let new = info(&ours).unwrap();
        assert!(!new.closed && !new.unacknowledged && !new.queued, "{new:?}");
        // Until the peer's window is shut and the rest waits here.
        let block = vec![7; 1 << 20];
        while tokio::time::timeout(Duration::from_millis(300), ours.write_all(&block)).await.is_ok() {}
        let full = info(&ours).unwrap();
        assert!(full.queued && !full.closed, "{full:?}");
        drop(theirs);
        while !info(&ours).unwrap().closed {
            tokio::task::yield_now().await;
        }
    }
}
