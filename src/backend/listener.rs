//! The device's side of a backend: listens for offers of streams.

use std::any::Any;
use std::fmt::Debug;
use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::joined::{Joined, Pending};
use super::report::Report;
use crate::check::Finding;
use crate::error::{Error, Result};
use crate::net::Network;
use crate::time::clock::UnixSeconds;

/// A device's access to its service.
pub trait Listener: Any + Debug + Send + Sync {
    /// The device in logs, such as `gw-07` or `gw-07/camera`.
    fn device(&self) -> String;

    /// The service, as `HOST` or `HOST:PORT`.
    fn service(&self) -> String;

    /// Whether the service keeps what the agent reports.
    fn keeps_reports(&self) -> bool {
        false
    }

    /// Starts a task that listens until [`Order::Stop`] or until [`Offers`] is dropped. The task reconnects to a lost
    /// service, renews expiring tokens, and rereads a refused credential, or one whose files have changed, with `reread`.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// Returns an error that no retry can fix, such as a given token that has expired.
    fn listen(self: Arc<Self>, network: Network, reread: Option<Reread>) -> Result<Offers>;

    /// Diagnoses the connection to the service, and the login.
    fn check<'a>(&'a self, network: &'a Network) -> Pending<'a, Vec<Finding>>;
}

impl dyn Listener {
    /// Whether both have the same backend, which [`Order::Reload`] requires.
    pub fn is_same_backend(&self, other: &Self) -> bool {
        self.type_id() == other.type_id()
    }

    /// The listener of a backend that it is; `None` if it is another's.
    pub(crate) fn downcast<L: Listener>(self: Arc<Self>) -> Option<Arc<L>> {
        let listener: Arc<dyn Any + Send + Sync> = self;
        listener.downcast().ok()
    }
}

/// Rereads the configuration, for a corrected credential. May block.
pub(crate) type Reread = Arc<dyn Fn() -> Result<Arc<dyn Listener>> + Send + Sync>;

/// The longest `Retry-After` that is respected, so that a service cannot disable a device for ever.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);

/// `wait`, or longer if the service asks for it after `error`.
pub(crate) fn at_least_asked(wait: Duration, error: &Error) -> Duration {
    wait.max(error.retry_after().unwrap_or_default().min(LONGEST_ASKED))
}

/// The agent's end of a listener.
#[derive(Debug)]
pub struct Offers {
    events: mpsc::Receiver<Event>,
    orders: watch::Sender<Order>,
    reports: watch::Sender<Arc<Report>>,
}

impl Offers {
    /// Both ends of a listener: the agent's and the task's.
    pub fn channel() -> (Self, Source) {
        let (event, events) = mpsc::channel(EVENTS);
        // The receiver never sees the first value.
        let (order, orders) = watch::channel(Order::Stop);
        let (report, reports) = watch::channel(Arc::default());
        let source = Source { events: event, orders: Orders(orders), reports: Reports(reports) };
        (Self { events, orders: order, reports: report }, source)
    }

    /// Waits for the next event; `None` after the listener's end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Polls for the next event; `None` after the listener's end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }

    /// Gives an order to the listener, and replaces one that it has not seen. Does nothing after its end.
    pub fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }

    /// Reports to the service, in the background, and replaces what was reported before. Does nothing at a service that keeps
    /// no reports, or after the listener's end.
    pub(crate) fn report(&self, report: Arc<Report>) {
        self.reports.send_replace(report);
    }
}

/// The task's end of a listener.
#[derive(Debug)]
pub struct Source {
    /// Events for the agent. Closed after the agent's end.
    pub events: mpsc::Sender<Event>,
    /// Orders of the agent.
    pub orders: Orders,
    /// Reports of the agent.
    pub reports: Reports,
}

/// The orders to a listener, which sees only the latest.
#[derive(Debug)]
pub struct Orders(watch::Receiver<Order>);

impl Orders {
    /// Waits for the next order. Dropping [`Offers`] is [`Order::Stop`]. Cancel-safe.
    pub async fn next(&mut self) -> Order {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => Order::Stop,
        }
    }
}

/// The reports of an agent, of which only the latest counts.
#[derive(Debug)]
pub struct Reports(watch::Receiver<Arc<Report>>);

impl Reports {
    /// Waits for the next report. Never resolves after the end of [`Offers`]. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Arc<Report> {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => pending().await,
        }
    }
}

/// The length of the event queue: the agent receives events at once, and a flooding service has to wait.
const EVENTS: usize = 1;

/// An order to a listener.
#[derive(Clone, Debug)]
pub enum Order {
    /// Use another configuration of the same backend, without a gap in service if possible.
    Reload(Arc<dyn Listener>, Network),
    /// Accept no more offers, send the answers to open ones, and end within a few seconds.
    Stop,
}

/// A login at a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Login {
    /// Whether it replaces one that was in service.
    pub is_renewal: bool,
    /// When the credential ends, if it is a certificate or a token that the agent cannot renew.
    pub credential_ends: Option<UnixSeconds>,
}

/// An event of a listener.
#[derive(Debug)]
pub enum Event {
    /// The listener is connected to the service.
    InService {
        /// The listener in use, which differs from the original one after a credential was reread.
        listener: Arc<dyn Listener>,
        /// What is still wrong.
        remark: Option<String>,
        /// The login.
        login: Login,
    },
    /// The listener has renewed its token, without another login.
    Renewed,
    /// The service cannot be reached or refuses the device.
    Trouble {
        /// The error.
        error: Error,
        /// The time until the next attempt.
        retry_in: Duration,
    },
    /// An offer.
    Offer(Offer),
    /// An unusable offer. The listener has rejected it if that is possible.
    Unusable {
        /// The stream's name.
        stream: String,
        /// The problem.
        problem: String,
    },
}

/// An offer: a user's request for a stream.
#[derive(Debug)]
pub struct Offer {
    /// The stream's name.
    pub stream: String,
    /// The service's id of the request, if its support can look it up.
    pub id: Option<String>,
    /// The user's address, if the service tells it.
    pub requester: Option<String>,
    /// Whether the same request of the user has just been approved, so that nobody is asked again.
    pub is_approved: bool,
    /// The reply to it.
    pub reply: Box<dyn Reply>,
}

/// The reply to an offer. If it is dropped unused, the user waits until the service gives up.
pub trait Reply: Debug + Send {
    /// Accepts the stream and joins it. Dropping the future abandons the stream.
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>>;

    /// Rejects the stream. The answer is sent in the background.
    fn reject(self: Box<Self>, rejection: &Rejection);

    /// Resolves when a reply can no longer reach the user. Cancel-safe.
    fn withdrawn(&self) -> Pending<'_, ()>;
}

/// Why a stream is rejected. A backend that cannot send a reason drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The cause.
    pub cause: Cause,
    /// The reason in words.
    pub reason: String,
}

impl Rejection {
    /// A rejection from its parts.
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into() }
    }
}

/// The cause of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No target has the stream's name, or the target cannot be reached.
    Target,
    /// Approval was refused or not given.
    Approval,
    /// A limit of the agent.
    Limit,
}
