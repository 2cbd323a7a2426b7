//! The notices from the reader of a side to its writer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The notices that wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Notices {
    state: Mutex<Notice>,
    changed: Notify,
}

/// A notice to the writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Notice {
    /// The payload of the latest Ping: only that needs an answer (RFC 6455, 5.5.3), so a flood takes no memory.
    pub(super) ping: Option<Bytes>,
    /// The side is to be pinged.
    pub(super) probe: bool,
    /// The side closed its WebSocket.
    pub(super) closed: bool,
    /// The service ends the side's connection, and sends this Close.
    pub(super) close: Option<Option<(CloseCode, String)>>,
}

impl Notices {
    fn lock(&self) -> MutexGuard<'_, Notice> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the notice, and wakes the writer.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Notice)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Resolves after a change. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The notice as it is now; a Ping is taken once.
    pub(super) fn take(&self) -> Notice {
        let mut state = self.lock();
        let taken = state.clone();
        state.ping = None;
        state.probe = false;
        taken
    }

    /// Whether the side has closed its WebSocket.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Resolves once the side has closed its WebSocket. Cancel-safe.
    pub(super) async fn closed(&self) {
        while !self.is_closed() {
            self.changed.notified().await;
        }
    }
}
