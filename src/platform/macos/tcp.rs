//! Socket options of macOS, and those that it lacks.

use std::time::Duration;

use nix::sys::socket::setsockopt;
use tokio::net::{TcpSocket, TcpStream};

use crate::platform::tcp_info::TcpInfo;

pub(crate) fn info(_: &TcpStream) -> Option<TcpInfo> {
    None
}

/// Limits the unsent bytes that the kernel accepts.
pub(crate) fn limit_unsent(stream: &TcpStream, bytes: u32) {
    let _ = setsockopt(stream, option::NotSentLowWater, &bytes);
}

pub(crate) fn retransmit_within(_: &TcpStream, _: Duration) {}

pub(crate) fn set_segment_size(_: &TcpSocket, _: u32) {}

pub(crate) fn unacknowledged(_: &TcpStream) -> Option<u64> {
    None
}

mod option {
    use nix::{libc, setsockopt_impl, sockopt_impl};

    // xnu/bsd/netinet/tcp.h
    const TCP_NOTSENT_LOWAT: libc::c_int = 0x201;

    sockopt_impl!(NotSentLowWater, SetOnly, libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT, u32);
}
