//! TCP options and states, of which Windows offers none through a safe interface.

use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::platform::tcp_info::TcpInfo;

pub(crate) fn info(_: &TcpStream) -> Option<TcpInfo> {
    None
}

pub(crate) fn limit_unsent(_: &TcpStream, _: u32) {}

pub(crate) fn retransmit_within(_: &TcpStream, _: Duration) {}

pub(crate) fn set_segment_size(_: &TcpSocket, _: u32) {}

pub(crate) fn unacknowledged(_: &TcpStream) -> Option<u64> {
    None
}
