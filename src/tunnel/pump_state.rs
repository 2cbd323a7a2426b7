//! The state that both pumps of a bridge and the watch share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::Close;

/// The time limit for sending the peer a Close when a stream ends early.
pub(super) const HANGUP: Duration = Duration::from_millis(250);

/// Reads in a row after which a pump yields. A peer may send faster than its frames are decoded.
pub(super) const TURN: u32 = 24;

/// The shared state, and the notifications of its changes.
pub(super) struct PumpState {
    inner: Mutex<Inner>,
    /// Wakes the upward pump for new [`Orders`].
    pub(super) attention: Notify,
    /// Wakes the downward pump at [`Inner::upward_ended`].
    pub(super) upward_end: Notify,
    /// Wakes the watch when the local side accepts no data.
    pub(super) stalled: Notify,
}

pub(super) struct Inner {
    pub(super) orders: Orders,
    /// The upward pump has sent all data, or has ended.
    pub(super) upward_ended: bool,
    /// How long the peer may be silent after that; `None` is no limit.
    pub(super) linger: Option<Duration>,
    /// The peer has ended its direction in order.
    pub(super) peer_ended: bool,
    pub(super) peer: Peer,
}

/// Orders to the upward pump.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) ping: bool,
    /// The payload of the last ping. Earlier ones need no answer (RFC 6455, section 5.5.3).
    pub(super) pong: Option<Vec<u8>>,
    /// End after this much silence of the local side.
    pub(super) drain: Option<Duration>,
    /// End at this time, even if the local side has more data.
    pub(super) end_by: Option<Instant>,
    /// Send this Close at once and end.
    pub(super) close: Option<Close>,
    /// The Close to end with if the local side has not ended; a normal one otherwise.
    pub(super) hangup: Option<Close>,
}

impl Orders {
    /// Ends the upward pump after [`HANGUP`], or earlier after `silence` of the local side. It sends `close`, or a normal
    /// Close.
    pub(super) fn end_soon(&mut self, silence: Duration, close: Option<Close>) {
        self.drain = Some(silence);
        self.end_by = self.end_by.or(Some(Instant::now() + HANGUP));
        self.hangup = self.hangup.take().or(close);
    }
}

/// The signs of life of the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// When bytes last arrived, or reading resumed.
    pub(super) heard: Instant,
    /// Reading is paused because the local side accepts no data.
    pub(super) paused: bool,
    /// When the last ping was written to the connection.
    pub(super) pinged: Option<Instant>,
    /// Data was sent since bytes last arrived. The peer answers a ping only after it has read that data.
    pub(super) has_data: bool,
    /// One side has sent its Close: no more pings are sent, and no pongs expected.
    pub(super) is_closing: bool,
}

pub(super) enum Sent {
    Data,
    Ping,
}

impl PumpState {
    pub(super) fn new() -> Self {
        let peer =
            Peer { heard: Instant::now(), paused: false, pinged: None, has_data: false, is_closing: false };
        Self {
            inner: Mutex::new(Inner {
                orders: Orders::default(),
                upward_ended: false,
                linger: None,
                peer_ended: false,
                peer,
            }),
            attention: Notify::new(),
            upward_end: Notify::new(),
            stalled: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the orders and wakes the upward pump.
    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock().orders);
        self.attention.notify_one();
    }

    /// Records that the upward pump has sent all data, or has ended.
    pub(super) fn upward_ended(&self, linger: Option<Duration>) {
        let mut state = self.lock();
        (state.upward_ended, state.linger) = (true, linger);
        drop(state);
        self.upward_end.notify_one();
    }

    /// Records that a side has sent its Close.
    pub(super) fn closing(&self) {
        self.lock().peer.is_closing = true;
    }

    /// Records that bytes arrived.
    pub(super) fn heard(&self) {
        let mut state = self.lock();
        state.peer.heard = Instant::now();
        state.peer.paused = false;
        state.peer.has_data = false;
    }

    /// Records that the downward pump reads.
    pub(super) fn reading(&self) {
        let mut state = self.lock();
        if state.peer.paused {
            state.peer.heard = Instant::now();
            state.peer.paused = false;
        }
    }

    /// Records that the downward pump waits for the local side and does not read.
    pub(super) fn reading_paused(&self) {
        self.lock().peer.paused = true;
        self.stalled.notify_one();
    }

    /// Records that data, or a ping behind all data, was written to the connection.
    pub(super) fn sent(&self, what: Sent) {
        let peer = &mut self.lock().peer;
        match what {
            Sent::Data => peer.has_data = true,
            Sent::Ping => peer.pinged = Some(Instant::now()),
        }
    }
}
