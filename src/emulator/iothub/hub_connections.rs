//! The hub connections of devices: who is online, who takes stream offers or desired properties, and which offers wait
//! for an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::iothub::proto::{Decision, Identity, Offer};
use crate::emulator::mqtt::Message;

/// Messages that wait for one device; a device that does not read is sent no more.
const OUTBOX: usize = 64;

/// All hub connections, at most one for each identity.
#[derive(Debug)]
pub(super) struct HubConnections {
    online: Mutex<HashMap<Identity, Entry>>,
    /// When each identity last came online or went offline.
    changed_at: Mutex<HashMap<Identity, SystemTime>>,
    next_serial: AtomicU64,
    /// Notified of every login, subscription and end.
    changed: watch::Sender<()>,
}

/// A device that is online.
#[derive(Debug)]
struct Entry {
    /// Distinguishes this hub connection from an earlier one.
    serial: u64,
    subscribed: bool,
    wants_desired: bool,
    /// Dropping it ends the hub connection.
    outbox: mpsc::Sender<Message>,
    pending: HashMap<String, oneshot::Sender<Decision>>,
    next_request: u32,
    authority: String,
}

/// One device's hub connection; dropping it takes the device offline.
#[derive(Debug)]
pub(super) struct HubConnection {
    connections: Arc<HubConnections>,
    identity: Identity,
    serial: u64,
    /// When it began.
    began: (SystemTime, Instant),
    messages: mpsc::Receiver<Message>,
}

/// An offer that was sent to a device; dropping it forgets the offer.
#[derive(Debug)]
pub(super) struct PendingOffer {
    connections: Arc<HubConnections>,
    identity: Identity,
    request_id: String,
    answer: oneshot::Receiver<Decision>,
}

/// Why a device is not sent an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfferError {
    /// It is offline, or not subscribed.
    NotReady,
    /// It does not read the messages it has.
    Busy,
}

impl HubConnections {
    /// No hub connections.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            online: Mutex::default(),
            changed_at: Mutex::default(),
            next_serial: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Entry>> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a device online. An older hub connection of the same identity ends: the hub has one for each \[D].
    /// `authority` is where the device is to reach the gateway.
    pub(super) fn connect(
        self: &Arc<Self>,
        identity: &Identity,
        authority: String,
        now: SystemTime,
    ) -> HubConnection {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let serial = self.next_serial.fetch_add(1, Relaxed);
        let entry = Entry {
            serial,
            subscribed: false,
            wants_desired: false,
            outbox,
            pending: HashMap::new(),
            next_request: 1,
            authority,
        };
        self.lock().insert(identity.clone(), entry);
        self.note_change(identity, now);
        self.changed.send_replace(());
        let (connections, began) = (Arc::clone(self), (now, Instant::now()));
        HubConnection { connections, identity: identity.clone(), serial, began, messages }
    }

    fn note_change(&self, identity: &Identity, now: SystemTime) {
        self.changed_at.lock().unwrap_or_else(PoisonError::into_inner).insert(identity.clone(), now);
    }

    /// When the device or module last came online or went offline.
    pub(super) fn changed_at(&self, identity: &Identity) -> Option<SystemTime> {
        self.changed_at.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied()
    }

    /// Ends a device's hub connection.
    pub(super) fn disconnect(&self, identity: &Identity) {
        self.lock().remove(identity);
        self.changed.send_replace(());
    }

    /// Whether the device or module has a hub connection.
    pub(super) fn is_online(&self, identity: &Identity) -> bool {
        self.lock().contains_key(identity)
    }

    /// How many devices are online, modules not counted.
    pub(super) fn count(&self) -> usize {
        self.lock().keys().filter(|identity| identity.module().is_none()).count()
    }

    /// Publishes new desired properties, if the device is online and has subscribed to them.
    pub(super) fn publish_desired(&self, identity: &Identity, message: Message) {
        let online = self.lock();
        let Some(entry) = online.get(identity).filter(|entry| entry.wants_desired) else { return };
        if entry.outbox.try_send(message).is_err() {
            log::warn!("{identity} misses desired properties: it does not read");
        }
    }

    /// Waits until a device is online and subscribed to stream offers. Cancel-safe.
    pub(super) async fn ready(&self, identity: &Identity) {
        let mut changed = self.changed.subscribe();
        while !self.lock().get(identity).is_some_and(|entry| entry.subscribed) {
            // The sender lives as long as `self`.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends a device the offer that `make` makes of a request id and the gateway's authority.
    ///
    /// # Errors
    /// The device is not ready, or busy.
    pub(super) fn offer(
        self: &Arc<Self>,
        identity: &Identity,
        make: impl FnOnce(String, &str) -> Offer,
    ) -> Result<PendingOffer, OfferError> {
        let mut online = self.lock();
        let entry = online.get_mut(identity).filter(|entry| entry.subscribed).ok_or(OfferError::NotReady)?;
        let slot = entry.outbox.try_reserve().map_err(|_| OfferError::Busy)?;
        // A decimal counter [I] of at most six digits: the C SDK keeps no more [S].
        let mut request_id = entry.next_request.to_string();
        while entry.pending.contains_key(&request_id) {
            entry.next_request = entry.next_request % 999_999 + 1;
            request_id = entry.next_request.to_string();
        }
        entry.next_request = entry.next_request % 999_999 + 1;
        let (sender, answer) = oneshot::channel();
        let offer = make(request_id.clone(), &entry.authority);
        slot.send(Message::new(offer.topic(), Vec::new()));
        entry.pending.insert(request_id.clone(), sender);
        Ok(PendingOffer { connections: Arc::clone(self), identity: identity.clone(), request_id, answer })
    }
}

impl HubConnection {
    /// The device or module that is connected.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The next message to publish; `None` when the hub has ended this hub connection. Cancel-safe.
    pub(super) async fn message(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    fn with_entry<T>(&self, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.connections.lock().get_mut(&self.identity).filter(|entry| entry.serial == self.serial).map(act)
    }

    /// Notes whether the device is subscribed to stream offers.
    pub(super) fn set_subscribed(&self, subscribed: bool) {
        self.with_entry(|entry| entry.subscribed = subscribed);
        self.connections.changed.send_replace(());
    }

    /// Notes whether the device is subscribed to desired properties.
    pub(super) fn set_wants_desired(&self, wanted: bool) {
        self.with_entry(|entry| entry.wants_desired = wanted);
    }

    /// Takes the device's answer to an offer; an answer to no pending offer is ignored.
    pub(super) fn answer(&self, request_id: &str, decision: Decision) {
        let sender = self.with_entry(|entry| entry.pending.remove(request_id)).flatten();
        if sender.is_none_or(|sender| sender.send(decision).is_err()) {
            log::info!("{}: an answer to no pending offer", self.identity);
        }
    }
}

impl Drop for HubConnection {
    fn drop(&mut self) {
        let mut online = self.connections.lock();
        // A newer hub connection stays.
        if online.get(&self.identity).is_none_or(|entry| entry.serial == self.serial) {
            online.remove(&self.identity);
            let (time, since) = self.began;
            self.connections.note_change(&self.identity, time + since.elapsed());
        }
        drop(online);
        self.connections.changed.send_replace(());
    }
}

impl PendingOffer {
    /// The device's answer; `None` when its hub connection has ended. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Option<Decision> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for PendingOffer {
    fn drop(&mut self) {
        self.answer.close();
        if let Some(entry) = self.connections.lock().get_mut(&self.identity) {
            // A newer offer may have the same id, so this removes only the closed sender.
            if entry.pending.get(&self.request_id).is_some_and(oneshot::Sender::is_closed) {
                entry.pending.remove(&self.request_id);
            }
        }
    }
}
