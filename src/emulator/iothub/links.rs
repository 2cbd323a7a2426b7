//! The devices that are connected: who is online, who takes stream offers or desired properties, and which offers
//! await an answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::iothub::proto::{Decision, Identity, Offer};

/// Messages on their way to one device; a device that takes none off is not sent more.
const OUTBOX: usize = 64;

/// All connections, at most one for each identity.
#[derive(Debug)]
pub(super) struct Links {
    online: Mutex<HashMap<Identity, Link>>,
    next_serial: AtomicU64,
    /// Told of every connection, subscription and end.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Link {
    /// Tells this connection from the one before it.
    serial: u64,
    subscribed: bool,
    wants_desired: bool,
    /// Dropping it ends the connection.
    outbox: mpsc::Sender<Message>,
    pending: HashMap<String, oneshot::Sender<Decision>>,
    next_request: u32,
    authority: String,
}

/// What the hub publishes.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// A connection's own end; dropping it takes the device offline.
#[derive(Debug)]
pub(super) struct Connected {
    links: Arc<Links>,
    identity: Identity,
    serial: u64,
    messages: mpsc::Receiver<Message>,
}

/// An offer a device has been sent; dropping it forgets the offer.
#[derive(Debug)]
pub(super) struct Offered {
    links: Arc<Links>,
    identity: Identity,
    request_id: String,
    answer: oneshot::Receiver<Decision>,
}

/// Why a device was not sent an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotOffered {
    /// Offline, or not subscribed.
    NotReady,
    /// It does not take the offers it has.
    Busy,
}

impl Links {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            online: Mutex::default(),
            next_serial: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Link>> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a device online. An older connection of the same identity ends: the hub has one for each [D].
    /// `authority` is where the device is to reach the gateway.
    pub(super) fn connect(self: &Arc<Self>, identity: &Identity, authority: String) -> Connected {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let serial = self.next_serial.fetch_add(1, Relaxed);
        let link = Link {
            serial,
            subscribed: false,
            wants_desired: false,
            outbox,
            pending: HashMap::new(),
            next_request: 1,
            authority,
        };
        self.lock().insert(identity.clone(), link);
        self.changed.send_replace(());
        Connected { links: Arc::clone(self), identity: identity.clone(), serial, messages }
    }

    /// Ends a device's connection.
    pub(super) fn disconnect(&self, identity: &Identity) {
        self.lock().remove(identity);
        self.changed.send_replace(());
    }

    pub(super) fn is_online(&self, identity: &Identity) -> bool {
        self.lock().contains_key(identity)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().keys().filter(|identity| identity.module().is_none()).count()
    }

    /// Publishes new desired properties, if the device is there and asked for them.
    pub(super) fn publish_desired(&self, identity: &Identity, message: Message) {
        let online = self.lock();
        let Some(link) = online.get(identity).filter(|link| link.wants_desired) else { return };
        if link.outbox.try_send(message).is_err() {
            log::warn!("{identity} misses desired properties: it does not take what it is sent");
        }
    }

    /// Waits until a device is online and subscribed to stream offers.
    pub(super) async fn ready(&self, identity: &Identity) {
        let mut changed = self.changed.subscribe();
        while !self.lock().get(identity).is_some_and(|link| link.subscribed) {
            // The sender lives as long as `self`.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends a device the offer that `make` makes of a request id and the gateway's authority.
    pub(super) fn offer(
        self: &Arc<Self>,
        identity: &Identity,
        make: impl FnOnce(String, &str) -> Offer,
    ) -> Result<Offered, NotOffered> {
        let mut online = self.lock();
        let link = online.get_mut(identity).filter(|link| link.subscribed).ok_or(NotOffered::NotReady)?;
        let slot = link.outbox.try_reserve().map_err(|_| NotOffered::Busy)?;
        // A decimal counter [I] of at most six digits, for the C SDK keeps no more [S].
        let mut request_id = link.next_request.to_string();
        while link.pending.contains_key(&request_id) {
            link.next_request = link.next_request % 999_999 + 1;
            request_id = link.next_request.to_string();
        }
        link.next_request = link.next_request % 999_999 + 1;
        let (sender, answer) = oneshot::channel();
        let offer = make(request_id.clone(), &link.authority);
        slot.send(Message { topic: offer.topic(), payload: Vec::new() });
        link.pending.insert(request_id.clone(), sender);
        Ok(Offered { links: Arc::clone(self), identity: identity.clone(), request_id, answer })
    }
}

impl Connected {
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The next message to publish; `None` when the hub has ended this connection. Safe to cancel.
    pub(super) async fn message(&mut self) -> Option<Message> {
        self.messages.recv().await
    }

    fn with_link<T>(&self, act: impl FnOnce(&mut Link) -> T) -> Option<T> {
        self.links.lock().get_mut(&self.identity).filter(|link| link.serial == self.serial).map(act)
    }

    pub(super) fn set_subscribed(&self, subscribed: bool) {
        self.with_link(|link| link.subscribed = subscribed);
        self.links.changed.send_replace(());
    }

    pub(super) fn set_wants_desired(&self, wanted: bool) {
        self.with_link(|link| link.wants_desired = wanted);
    }

    /// Takes the device's answer; one to a request that is not there, or no more, is passed over.
    pub(super) fn answer(&self, request_id: &str, decision: Decision) {
        let sender = self.with_link(|link| link.pending.remove(request_id)).flatten();
        if sender.is_none_or(|sender| sender.send(decision).is_err()) {
            log::info!("{}: an answer to no request of now", self.identity);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut online = self.links.lock();
        if online.get(&self.identity).is_some_and(|link| link.serial == self.serial) {
            online.remove(&self.identity);
        }
        drop(online);
        self.links.changed.send_replace(());
    }
}

impl Offered {
    /// The device's answer; `None` when the device went away.
    pub(super) async fn answer(&mut self) -> Option<Decision> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.answer.close();
        if let Some(link) = self.links.lock().get_mut(&self.identity) {
            // A newer request may have the same id by now: only this one's sender is closed.
            if link.pending.get(&self.request_id).is_some_and(oneshot::Sender::is_closed) {
                link.pending.remove(&self.request_id);
            }
        }
    }
}
