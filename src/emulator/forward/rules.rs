//! What services do differently when they forward messages.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::emulator::websocket::frames::Size;

/// How a service treats messages and the ends of connections.
#[derive(Clone, Debug)]
pub(in crate::emulator) struct Rules {
    /// How large a frame may be.
    pub(in crate::emulator) size: Size,
    /// Messages keep their type and their borders; otherwise each frame is passed on as a binary message.
    pub(in crate::emulator) keeps_messages: bool,
    /// What becomes of a side's Close.
    pub(in crate::emulator) closes: Closes,
    /// What becomes of a side's Ping.
    pub(in crate::emulator) pings: Pings,
    /// The Close for a side whose peer's connection ended without one; without it, its connection ends likewise.
    pub(in crate::emulator) lost: Option<(CloseCode, &'static str)>,
    /// A stream that carries no frame for so long is cut.
    pub(in crate::emulator) idle: Option<Duration>,
    /// When both sides get a Close, and which.
    pub(in crate::emulator) expiry: Option<(Instant, CloseCode, String)>,
}

/// What becomes of a side's Close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::emulator) enum Closes {
    /// It is passed on, and the peer's Close answers it.
    #[default]
    PassedOn,
    /// It is passed on, and answered at once: what the peer sends after that is lost.
    Answered(Answer),
}

/// How a Close is answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Answer {
    /// With its own code and reason.
    Same,
    /// With 1000 and no reason.
    Normal,
}

/// What becomes of a side's Ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::emulator) enum Pings {
    #[default]
    Answered,
    /// It is passed on, and so are Pongs.
    PassedOn,
    /// It gets no answer.
    Ignored,
}
