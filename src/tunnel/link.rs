//! What the two pumps of a bridge tell each other, and what is known of the peer's life.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::frame::Close;

/// How long the peer may take to be told the end of a stream that cannot go on, or that nobody wants any more.
pub(super) const HANGUP: Duration = Duration::from_millis(250);

/// What the pumps tell each other.
pub(super) struct Link {
    state: Mutex<State>,
    /// Wakes the upward pump.
    pub(super) attention: Notify,
    /// Wakes the downward pump once it may linger only.
    pub(super) upward_end: Notify,
    /// Wakes the watch when the local side takes nothing.
    pub(super) stalled: Notify,
}

pub(super) struct State {
    pub(super) orders: Orders,
    pub(super) upward_ended: bool,
    /// How long the peer may be silent once the upward pump has ended, where there is a limit.
    pub(super) linger: Option<Duration>,
    pub(super) peer: Peer,
}

/// What the upward pump is to do.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) ping: bool,
    /// The last ping's payload: only the last one needs an answer (RFC 6455, 5.5.3).
    pub(super) pong: Option<Vec<u8>>,
    /// To end once the local side has ended, or has been silent for this long.
    pub(super) drain: Option<Duration>,
    /// To end by then, whatever the local side has yet to say.
    pub(super) by: Option<Instant>,
    /// To end with this, and send nothing more.
    pub(super) close: Option<Close>,
    /// What to close with once drained, if the local side has not ended.
    pub(super) hangup: Option<Close>,
}

impl Orders {
    /// The local side may say what it has within [`HANGUP`], or until it has been silent for `silence`; then the upward pump
    /// ends, with `close` if there is one.
    pub(super) fn end_soon(&mut self, silence: Duration, close: Option<Close>) {
        self.drain = Some(silence);
        self.by = self.by.or(Some(Instant::now() + HANGUP));
        self.hangup = self.hangup.take().or(close);
    }
}

/// What is known of the peer's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// When something was last heard of it, or listening began again.
    pub(super) heard: Instant,
    /// Nobody listens, for the local side takes nothing.
    pub(super) unheard: bool,
    /// When the connection took the last ping.
    pub(super) pinged: Option<Instant>,
    /// Data was sent since something was heard: a pong lies behind what the peer may not have read yet.
    pub(super) has_data: bool,
    /// One side has sent its Close: neither pings nor pongs are owed.
    pub(super) is_closing: bool,
}

pub(super) enum Sent {
    Data,
    Ping,
}

impl Link {
    pub(super) fn new() -> Self {
        let peer =
            Peer { heard: Instant::now(), unheard: false, pinged: None, has_data: false, is_closing: false };
        Self {
            state: Mutex::new(State { orders: Orders::default(), upward_ended: false, linger: None, peer }),
            attention: Notify::new(),
            upward_end: Notify::new(),
            stalled: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock().orders);
        self.attention.notify_one();
    }

    /// The upward pump has ended.
    pub(super) fn upward_ended(&self, linger: Option<Duration>) {
        let mut state = self.lock();
        (state.upward_ended, state.linger) = (true, linger);
        state.peer.is_closing = true;
        drop(state);
        self.upward_end.notify_one();
    }

    /// The peer has said that nothing more comes.
    pub(super) fn peer_ended(&self) {
        self.lock().peer.is_closing = true;
    }

    pub(super) fn heard(&self) {
        let mut state = self.lock();
        state.peer.heard = Instant::now();
        state.peer.unheard = false;
        state.peer.has_data = false;
    }

    /// Listening has begun again.
    pub(super) fn listening(&self) {
        let mut state = self.lock();
        if state.peer.unheard {
            state.peer.heard = Instant::now();
            state.peer.unheard = false;
        }
    }

    /// The local side has taken nothing for a while, so that nobody listens.
    pub(super) fn not_listening(&self) {
        self.lock().peer.unheard = true;
        self.stalled.notify_one();
    }

    /// The connection took data, or a ping after all of it.
    pub(super) fn sent(&self, what: Sent) {
        let peer = &mut self.lock().peer;
        match what {
            Sent::Data => peer.has_data = true,
            Sent::Ping => peer.pinged = Some(Instant::now()),
        }
    }
}
