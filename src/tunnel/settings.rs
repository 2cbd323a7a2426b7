//! The settings of a bridge.

use std::io;
use std::time::Duration;

use super::byte_count::{ByteCount, Direction};
use super::frame::Close;
use super::remote::Keepalive;

/// The settings of a bridge.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// When to ping a silent peer and when to give it up. `None` disables both.
    pub keepalive: Option<Keepalive>,
    /// After the local side's end: how long the peer may be silent before the bridge ends. `None`: while the peer is alive.
    pub linger: Option<Duration>,
    /// After the peer's end: how long the local side may be silent before the bridge ends. `None`: while the peer's
    /// connection lasts.
    pub drain: Option<Duration>,
    /// After the peer's connection has ended: how long the local side may take to accept the remaining data, and to end if
    /// the peer has. `None`: the first has no limit, and the local side is not read to its end.
    pub rest: Option<Duration>,
    /// Shut down the local writer at the peer's end, while the local side may still send. Otherwise the local side sees
    /// the end when the caller drops the writer.
    pub half_close: bool,
    /// The local side is one connection: after its end, a failed write shows that it has ended in both directions.
    pub one_connection: bool,
    /// Hold our Close back after the local side's end, until the peer's: the peer answers a Close at once and then cannot
    /// send. The end of its connection is then also an end in order, if TLS has ended too and no frame or message is cut.
    pub hold_close: bool,
    /// The direction of what the local side sends. Our normal Close then counts its bytes, and the peer's count of the other
    /// direction is checked. `None`: the WebSocket carries no stream.
    pub direction: Option<Direction>,
    /// A Close with code 1001 is an end in order, and not a failure of the peer.
    pub going_away_is_end: bool,
    /// The Close to send after an error of the local side.
    pub failed: fn(&io::Error) -> Close,
    /// Reset the connection if the bridge is dropped or its process killed. An orderly close would wait until the peer has
    /// read everything.
    pub reset: bool,
}

impl Settings {
    /// The settings of a stream that carries no session: each side gets a second to end, and no ping is sent.
    pub(crate) const BRIEF: Self = Self {
        keepalive: None,
        linger: Some(Duration::from_secs(1)),
        drain: Some(Duration::ZERO),
        rest: Some(Duration::from_secs(1)),
        half_close: true,
        one_connection: true,
        hold_close: false,
        direction: None,
        going_away_is_end: false,
        failed: |_| Close::new(Close::GOING_AWAY, ""),
        reset: true,
    };

    /// The Close that ends our direction in order, after `sent` bytes.
    pub(super) fn normal_close(&self, sent: u64) -> Close {
        let count = self.direction.map(|direction| ByteCount { direction, bytes: sent }.to_string());
        Close::new(Close::NORMAL, count.unwrap_or_default())
    }
}
