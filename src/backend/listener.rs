//! The device's side of a backend: waits for offers of streams.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::joined::{Joined, Pending};
use crate::check::Finding;
use crate::error::{Error, Result};
use crate::net::Network;

/// A device's access to its service.
pub trait Listener: Any + Debug + Send + Sync {
    /// The device as logs name it, such as `gw-07` or `gw-07/camera`.
    fn device(&self) -> String;

    /// The service, as `HOST` or `HOST:PORT`.
    fn service(&self) -> String;

    /// Listens from now on, in a task of its own, until it is told to stop or [`Offers`] is dropped. Losing the service
    /// is not an end: the task dials again, and renews what expires. A credential that the service refuses is read again
    /// with `reread`. Must be called within a runtime.
    ///
    /// # Errors
    /// What no later try can change, such as a ready token that has expired.
    fn listen(self: Arc<Self>, network: Network, reread: Option<Reread>) -> Result<Offers>;

    /// Diagnoses the connection to the service, and the login.
    fn check<'a>(&'a self, network: &'a Network) -> Pending<'a, Vec<Finding>>;
}

impl dyn Listener {
    /// Whether both are of one backend, so that [`Order::Reload`] can replace one by the other.
    pub fn is_same_backend(&self, other: &Self) -> bool {
        self.type_id() == other.type_id()
    }
}

/// Reads the configuration again, for a credential that has been corrected. It may block.
pub type Reread = Arc<dyn Fn() -> Result<Arc<dyn Listener>> + Send + Sync>;

/// The offers of a service, as they come.
#[derive(Debug)]
pub struct Offers {
    events: mpsc::Receiver<Event>,
    orders: watch::Sender<Order>,
}

impl Offers {
    /// The two ends of a listener: what the agent holds, and what the listener's task holds.
    pub fn channel() -> (Self, Source) {
        let (event, events) = mpsc::channel(EVENTS);
        // The receiver never sees the first value.
        let (order, orders) = watch::channel(Order::Stop);
        (Self { events, orders: order }, Source { events: event, orders: Orders(orders) })
    }

    /// The next event; `None` once the listener has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Tells the listener what to do, in place of an order that it has not seen yet. Does nothing where it has ended.
    pub fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }
}

/// The listener's end of [`Offers`].
#[derive(Debug)]
pub struct Source {
    /// Closed once nobody listens any more.
    pub events: mpsc::Sender<Event>,
    pub orders: Orders,
}

/// What a listener is told. It sees the latest order only.
#[derive(Debug)]
pub struct Orders(watch::Receiver<Order>);

impl Orders {
    /// The next order; dropping [`Offers`] is the order to stop. Cancel-safe.
    pub async fn next(&mut self) -> Order {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => Order::Stop,
        }
    }
}

/// How many events wait for the agent: it takes each at once, and a service that floods it has to wait.
const EVENTS: usize = 1;

/// What a listener is told to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Use another configuration of the same backend, if possible without a gap in service.
    Reload(Arc<dyn Listener>, Network),
    /// Take no more offers, send the answers that are still to come, and end within a few seconds.
    Stop,
}

/// What happens at a listener.
#[derive(Debug)]
pub enum Event {
    /// The service offers streams to the device from now on. This is the listener in use, which differs from the one that
    /// was told to listen once a credential has been read again.
    InService(Arc<dyn Listener>),
    /// The service is lost or refuses the device.
    Trouble {
        error: Error,
        /// When the next try is.
        again: Duration,
    },
    Offer(Offer),
    /// An offer that no stream can come of; it has been answered where that is possible.
    Unusable {
        stream: String,
        problem: String,
    },
}

/// A user asks for a stream.
#[derive(Debug)]
pub struct Offer {
    pub stream: String,
    /// The service's own id of the request, where its support can look it up.
    pub id: Option<String>,
    /// The user's address, as far as the service tells.
    pub asker: Option<String>,
    pub reply: Box<dyn Reply>,
}

/// The answer to an offer. Dropped without one, the user waits until the service gives up.
pub trait Reply: Debug + Send {
    /// Accepts the stream and joins it.
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>>;

    /// Rejects the stream. The answer is sent in the background.
    fn reject(self: Box<Self>, rejection: &Rejection);

    /// Resolves once an answer can no longer reach the user. Cancel-safe.
    fn withdrawn(&self) -> Pending<'_, ()>;
}

/// Why a stream is rejected. A backend without room for a reason drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub cause: Cause,
    pub reason: String,
}

impl Rejection {
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No target has the stream's name, or the target cannot be reached.
    Target,
    /// Nobody approved, or approval was refused.
    Approval,
    /// A limit of the agent's.
    Limit,
}
