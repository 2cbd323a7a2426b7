//! Senders that wait for a listener, until one of the two gives up or they meet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::emulator::forward::{Channel, Settings};

/// The senders that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Rendezvous(Arc<Mutex<HashMap<String, Waiting>>>);

/// A sender that waits, as its listener finds it.
#[derive(Debug)]
pub(super) struct Waiting {
    outcome: oneshot::Sender<Outcome>,
    id: String,
    settings: Settings,
}

/// What a listener decided.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The stream, and the subprotocol that the listener offered.
    Accepted(Box<Channel>, Option<String>),
    /// The status and the text for the sender.
    Rejected(StatusCode, String),
}

/// A sender's wait; dropping it ends the wait, and makes the address invalid.
#[derive(Debug)]
pub(super) struct Wait {
    rendezvous: Rendezvous,
    /// The secret part of the address.
    pub(super) key: String,
    /// What the listener decided.
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

impl Rendezvous {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a sender's wait for a stream with these settings.
    pub(super) fn wait(&self, id: &str, settings: Settings) -> Wait {
        let (sender, outcome) = oneshot::channel();
        let key = Uuid::new_v4().simple().to_string();
        self.lock().insert(key.clone(), Waiting { outcome: sender, id: id.to_owned(), settings });
        Wait { rendezvous: self.clone(), key, outcome }
    }

    /// The sender that waits at an address with this key, for one use.
    pub(super) fn take(&self, key: &str) -> Option<Waiting> {
        self.lock().remove(key).filter(|waiting| !waiting.outcome.is_closed())
    }
}

impl Waiting {
    /// Accepts: the sender gets its end of the stream, and the listener this one. `None` when the sender has left.
    pub(super) fn accept(self, subprotocol: Option<String>) -> Option<Box<Channel>> {
        let name = |side: &str| format!("stream {}: the {side}", self.id);
        let [listener, sender] = Channel::pair(name("listener"), name("sender"), &self.settings);
        self.outcome.send(Outcome::Accepted(sender, subprotocol)).is_ok().then_some(listener)
    }

    /// Rejects.
    pub(super) fn reject(self, status: StatusCode, text: String) {
        // The sender may have left.
        let _ = self.outcome.send(Outcome::Rejected(status, text));
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.rendezvous.lock().remove(&self.key);
    }
}
