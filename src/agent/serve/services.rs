//! The services that the agent listens to, each through its own listener.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::agent::control::ServiceState;
use crate::backend::{Event, Listener, Offer, Offers, Order, Report, Reread};
use crate::error::{Error, Result};
use crate::net::Network;

/// Rereads the configuration, for corrected credentials. May block.
pub type RereadAll = Arc<dyn Fn() -> Result<Vec<Arc<dyn Listener>>> + Send + Sync>;

/// One service.
pub(super) struct Service {
    /// The listener in use.
    pub(super) listener: Arc<dyn Listener>,
    /// Its state in words.
    pub(super) status: String,
    pub(super) state: ServiceState,
    offers: Offers,
}

/// What comes next from the services.
pub(super) enum Next {
    /// An event, and the index of its service; `None` is the listener's end.
    Event(usize, Option<Event>),
    /// An offer to a listener whose service a reload has removed.
    Late(Arc<dyn Listener>, Offer),
}

/// All services.
pub(super) struct Services {
    all: Vec<Service>,
    /// The services that a reload has removed, until their listeners end.
    removed: Vec<Service>,
    /// The service whose event comes first.
    turn: usize,
    /// What is reported to each, once it is known.
    report: Option<Arc<Report>>,
}

impl Services {
    /// Starts to listen.
    ///
    /// # Errors
    /// Returns the first error of a listener that cannot start, such as for a given token that has expired, if none can
    /// start. Otherwise such errors are logged.
    pub(super) fn start(
        listeners: &[Arc<dyn Listener>],
        network: &Network,
        reread: Option<&RereadAll>,
    ) -> Result<Self> {
        let mut failed = Vec::new();
        let mut all = Vec::new();
        for listener in listeners {
            match Service::start(listener, network, reread) {
                Ok(service) => all.push(service),
                Err(error) => failed.push(error),
            }
        }
        if all.is_empty() {
            return Err(failed.into_iter().next().unwrap_or_else(|| Error::Bug("no listener".into())));
        }
        for error in failed {
            log::error!("{error}; the agent goes on without that service");
        }
        Ok(Self { all, removed: Vec::new(), turn: 0, report: None })
    }

    /// Waits for the next event. The services take turns, so that one that floods the agent does not delay the others.
    ///
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Next {
        poll_fn(|cx| {
            if let Poll::Ready(late) = self.poll_late(cx) {
                return Poll::Ready(late);
            }
            let count = self.all.len();
            for at in (0..count).map(|step| (self.turn + step) % count) {
                if let Poll::Ready(event) = self.all[at].offers.poll_next(cx) {
                    self.turn = at + 1;
                    return Poll::Ready(Next::Event(at, event));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Polls for an offer that was on its way to a service when a reload removed it.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut at = 0;
        while let Some(service) = self.removed.get_mut(at) {
            match service.offers.poll_next(cx) {
                Poll::Ready(Some(Event::Offer(offer))) => {
                    return Poll::Ready(Next::Late(service.listener.clone(), offer));
                }
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => drop(self.removed.swap_remove(at)),
                Poll::Pending => at += 1,
            }
        }
        Poll::Pending
    }

    /// The services.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.all.iter()
    }

    /// The service at an index from [`Self::next`].
    pub(super) fn get(&mut self, at: usize) -> &mut Service {
        &mut self.all[at]
    }

    /// Forgets a service whose listener has ended. Returns whether one is left.
    pub(super) fn remove(&mut self, at: usize) -> bool {
        self.all.remove(at);
        !self.all.is_empty()
    }

    /// The state of all services in words.
    pub(super) fn status(&self) -> String {
        let known =
            self.all.iter().map(|service| service.status.as_str()).filter(|status| !status.is_empty());
        known.collect::<Vec<_>>().join("; ")
    }

    /// Reports to all services, and to those of a later [`Self::reload`].
    pub(super) fn report(&mut self, report: Arc<Report>) {
        for service in &self.all {
            service.offers.report(report.clone());
        }
        self.report = Some(report);
    }

    /// Orders all listeners to stop.
    pub(super) fn stop(&self) {
        for service in &self.all {
            service.offers.order(Order::Stop);
        }
    }

    /// Passes each listener to the one of the same backend, starts those of other backends, and stops those that are not
    /// among `listeners`.
    ///
    /// # Errors
    /// Returns why a new listener cannot start. Nothing has changed then.
    pub(super) fn reload(
        &mut self,
        listeners: &[Arc<dyn Listener>],
        network: &Network,
        reread: Option<&RereadAll>,
    ) -> Result<()> {
        let is_known = |listener: &Arc<dyn Listener>| {
            self.all.iter().any(|service| service.listener.is_same_backend(&**listener))
        };
        let (known, new): (Vec<_>, Vec<_>) = listeners.iter().partition(|listener| is_known(listener));
        let new = new.into_iter().map(|listener| Service::start(listener, network, reread));
        let new = new.collect::<Result<Vec<_>>>()?;
        if let Some(report) = &self.report {
            new.iter().for_each(|service| service.offers.report(report.clone()));
        }
        for service in std::mem::take(&mut self.all) {
            let same = known.iter().find(|listener| listener.is_same_backend(&*service.listener));
            let (order, services) = match same {
                Some(listener) => (Order::Reload(Arc::clone(listener), network.clone()), &mut self.all),
                None => (Order::Stop, &mut self.removed),
            };
            service.offers.order(order);
            services.push(service);
        }
        self.all.extend(new);
        Ok(())
    }
}

impl Service {
    fn start(listener: &Arc<dyn Listener>, network: &Network, reread: Option<&RereadAll>) -> Result<Self> {
        let reread = reread.map(|all| reread_one(listener.clone(), all.clone()));
        let offers = listener.clone().listen(network.clone(), reread)?;
        Ok(Self { listener: listener.clone(), status: String::new(), state: ServiceState::Waiting, offers })
    }
}

/// Rereads the configuration for the listener that replaces `listener`.
fn reread_one(listener: Arc<dyn Listener>, all: RereadAll) -> Reread {
    Arc::new(move || {
        let found = all()?.into_iter().find(|found| found.is_same_backend(&*listener));
        found.ok_or_else(|| {
            let problem = format!("it has no credential for {} any more", listener.service());
            Error::credential("the configuration", problem, "reload the agent to use it")
        })
    })
}
