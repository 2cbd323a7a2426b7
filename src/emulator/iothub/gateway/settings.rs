//! How the gateway forwards what the sides of a stream send.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::emulator::forward::{Closes, Pings, Rules, Settings};
use crate::emulator::websocket::frames::Size;

/// The settings of a stream that carries frames of up to `largest` bytes, delayed by `latency`, and is cut after `cut`
/// bytes.
pub(in crate::emulator) fn settings(latency: Duration, largest: usize, cut: Option<u64>) -> Settings {
    let rules = Rules {
        size: Size::Limited(largest),
        // The boundaries of messages carry no meaning [S]: text and fragments are bytes like any other. How the service
        // treats them is not known.
        keeps_messages: false,
        closes: Closes::PassedOn,
        pings: Pings::Answered,
        // It ends the other side too [D], and was seen to send this [I].
        lost: Some((CloseCode::Error, "WS disconnected")),
        idle: None,
        expiry: None,
    };
    Settings { latency, window: largest, cut, rules }
}
