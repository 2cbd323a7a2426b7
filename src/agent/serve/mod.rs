//! The agent's supervisor: receives offers from its listeners and orders from the command, and runs the streams.

mod answers;
mod services;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use self::services::RereadAll;
use self::services::{Next, Service, Services};
use super::approval::Approvals;
use super::audit::Audit;
use super::config::Config;
use super::control::{ControlSocket, ServiceState};
use super::host_keys::HostKeyReports;
use super::live_streams::LiveStreams;
use super::metrics::{Export, Figures, Rejected};
use super::rejection_log::RejectionLog;
use super::stream::{self, Shared, StreamContext};
use super::stream_limits::StreamLimits;
use super::traffic::Traffic;
use crate::backend::{Cause, Event, Listener, Offer, Rejection};
use crate::error::{Error, Result};
use crate::logging;
use crate::net::Network;
use crate::platform::{service_manager, signals};

/// The streams beyond max-sessions that may wait for their rejection. Further offers are rejected at once, because a
/// service can send them faster than the agent can decide on them.
const BEING_REJECTED: usize = 64;

/// The offers of one kind, rejected at once, that get a log line each before a summary.
const LOGGED_SINGLY: u32 = 20;

/// The time limit for the listener to end, above its own limits.
const LISTENER_END: Duration = Duration::from_secs(5);

/// The time limit for streams to end once they must.
const STREAM_END: Duration = Duration::from_secs(5);

/// An order to a running agent.
#[derive(Debug)]
pub enum Order {
    /// Use another configuration for new streams, or report its error.
    Reload(Result<Box<(Config, Network)>>),
    /// End after the streams, or after a time limit. A second one ends the agent at once.
    Stop,
    /// The same for an agent that has a successor: it leaves the hub, and its streams have more time.
    Leave,
}

struct Agent {
    config: Arc<Config>,
    services: Services,
    reread: Option<RereadAll>,
    shared: Arc<Shared>,
    host_keys: HostKeyReports,
    control: ControlSocket,
    export: Export,
    streams: JoinSet<()>,
    stopping: watch::Sender<bool>,
    /// Offers while there are too many streams.
    flood: RejectionLog,
    /// Unusable offers.
    unusable: RejectionLog,
    /// Offers that are rejected before they start a stream.
    rejected_at_once: RejectionLog,
}

/// Serves the device until [`Order::Stop`] or the end of `orders`. Losing the service ends neither the agent nor live
/// streams. `reread` rereads the configuration when a service refuses the credential.
///
/// Not cancel-safe: dropping the future drops the streams.
///
/// # Errors
/// Returns an error if no listener can start, such as for a given token that has expired.
pub async fn serve(
    config: Config,
    network: Network,
    reread: Option<RereadAll>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<()> {
    let services = Services::start(&config.listeners, &network, reread.as_ref())?;
    // A file at its size limit is then an error of the audit log, and not a signal that ends the process.
    signals::survive_file_size_limit();
    let agent = Agent::new(config, services, reread);
    let audit = agent.shared.audit.clone();
    tokio::select! {
        ended = agent.run(&mut orders) => ended,
        never = service_manager::watchdog() => match never {},
        never = audit.keep_trying() => match never {},
    }
}

impl Agent {
    fn new(config: Config, services: Services, reread: Option<RereadAll>) -> Self {
        let audit = Audit::open(config.audit_log.as_deref());
        let approvals = Approvals::new(audit.clone());
        let shared = Shared {
            audit,
            stream_limits: Arc::new(StreamLimits::default()),
            traffic: Traffic::new(),
            approvals: approvals.clone(),
            live_streams: LiveStreams::default(),
            figures: Figures::new(),
        };
        let shared = Arc::new(shared);
        let rendered = shared.clone();
        let render = Arc::new(move |format| rendered.figures.render(&rendered.live_streams, format));
        let config = Arc::new(config);
        Self {
            host_keys: HostKeyReports::start(config.clone()),
            control: ControlSocket::open(config.control.as_deref(), approvals),
            export: Export::start(config.metrics.as_ref(), render),
            config,
            services,
            reread,
            shared,
            streams: JoinSet::new(),
            stopping: watch::Sender::new(false),
            flood: RejectionLog::new(1),
            unusable: RejectionLog::new(LOGGED_SINGLY),
            rejected_at_once: RejectionLog::new(LOGGED_SINGLY),
        }
    }

    async fn run(mut self, orders: &mut mpsc::Receiver<Order>) -> Result<()> {
        let has_successor = loop {
            // Events have the lowest priority, so that a flood of offers delays nothing else.
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Reload(new)) => self.reload(new),
                    Some(Order::Leave) => break true,
                    Some(Order::Stop) | None => break false,
                },
                Some(ended) = self.streams.join_next() => if let Err(error) = ended {
                    log::error!("a stream ended with a bug: {error}");
                },
                question = self.control.next() => {
                    let reply = self.answer(&question);
                    question.answer(reply);
                }
                report = self.host_keys.next() => self.services.report(report),
                next = self.services.next() => match next {
                    Next::Event(service, Some(event)) => self.handle(service, event),
                    Next::Event(_, None) => return Err(Error::Bug("a listener has ended".into())),
                    Next::Late(listener, offer) => self.handle_offer(offer, listener),
                },
            }
        };
        // A new agent may take it from here on.
        self.control.close();
        self.count_connected(false);
        self.services.stop();
        let ended = async {
            loop {
                match self.services.next().await {
                    Next::Event(service, Some(event)) => self.handle(service, event),
                    Next::Event(service, None) if !self.services.remove(service) => break,
                    Next::Event(_, None) => {}
                    Next::Late(listener, offer) => self.handle_offer(offer, listener),
                }
            }
        };
        if timeout(LISTENER_END, ended).await.is_err() {
            log::warn!("a listener did not end in time");
        }
        self.stop(orders, has_successor).await;
        Ok(())
    }

    /// Handles an event of a service.
    fn handle(&mut self, service: usize, event: Event) {
        match event {
            Event::InService { listener, remark, login } => {
                let remark = remark.map(|remark| format!("; {remark}")).unwrap_or_default();
                let in_service =
                    format!("in service as device {} at {}{remark}", listener.device(), listener.service());
                log::info!("{in_service}");
                self.shared.figures.logged_in(&listener.service(), login);
                self.services.get(service).listener = listener;
                self.set_status(service, ServiceState::InService, in_service);
            }
            Event::Trouble { error, retry_in } => {
                let trouble = format!("{error}; trying again in {:.1} s", retry_in.as_secs_f64());
                log::warn!("{trouble}");
                if let Some(hint) = error.hint() {
                    log::info!("hint: {hint}");
                }
                logging::causes(&error);
                // A machine must boot without its service, so the agent is ready and keeps trying.
                self.set_status(service, ServiceState::after(&error), trouble);
            }
            Event::Renewed => {
                self.shared.figures.renewed(&self.services.get(service).listener.service());
            }
            Event::Offer(offer) => {
                let listener = self.services.get(service).listener.clone();
                self.handle_offer(offer, listener);
            }
            Event::Unusable { stream, problem } => {
                self.shared.figures.rejected(self.config.target_name(&stream), Rejected::Unusable);
                if let Some(count) = self.unusable.rejected() {
                    let listener = self.services.get(service).listener.clone();
                    self.log_rejected(&*listener, None, &stream, &problem, count);
                }
            }
        }
    }

    /// Starts the stream of an offer, or rejects a clear case at once.
    fn handle_offer(&mut self, offer: Offer, listener: Arc<dyn Listener>) {
        if self.streams.len() >= self.config.max_sessions.saturating_add(BEING_REJECTED) {
            self.shared.figures.rejected(self.config.target_name(&offer.stream), Rejected::Limit);
            if let Some(count) = self.flood.rejected() {
                let why = format!("there are too many offers at once: {count} are rejected unseen");
                self.shared.audit.stream(&offer.stream).rejected(&why);
            }
            return offer.reply.reject(&Rejection::new(Cause::Limit, "there are too many offers at once"));
        }
        // A clear rejection needs no task. Many of them share a log line.
        let permit = match stream::permit(&offer.stream, &self.config, &self.shared) {
            Ok(permit) => permit,
            Err(rejection) => {
                let why = match rejection.cause {
                    Cause::Target => Rejected::NoTarget,
                    cause => cause.into(),
                };
                self.shared.figures.rejected(self.config.target_name(&offer.stream), why);
                if let Some(count) = self.rejected_at_once.rejected() {
                    self.log_rejected(&*listener, Some(&offer), &offer.stream, &rejection.reason, count);
                }
                return offer.reply.reject(&rejection);
            }
        };
        let context = StreamContext {
            listener,
            config: self.config.clone(),
            shared: self.shared.clone(),
            stopping: self.stopping.subscribe(),
        };
        self.streams.spawn(stream::run(offer, permit, context));
    }

    /// Logs an offer of `stream` that was rejected at once, as the last of `count`.
    fn log_rejected(&self, at: &dyn Listener, offer: Option<&Offer>, stream: &str, why: &str, count: u64) {
        let record = self.shared.audit.stream(stream);
        let id = offer.and_then(|offer| offer.id.as_deref());
        let requester = offer.and_then(|offer| offer.requester.as_deref());
        record.offered(&at.device(), &at.service(), id, requester);
        let more = if count > 1 { format!(" ({count} of that kind)") } else { String::new() };
        record.rejected(&format!("{why}{more}"));
    }

    fn reload(&mut self, new: Result<Box<(Config, Network)>>) {
        service_manager::reloading();
        match new.and_then(|new| self.apply(*new)) {
            Ok(config) => {
                self.shared.audit.reopen(config.audit_log.as_deref());
                self.config = Arc::new(config);
                self.host_keys.reload(self.config.clone());
                self.end_windows();
                self.control.reload(self.config.control.as_deref());
                self.export.reload(self.config.metrics.as_ref());
                self.count_connected(true);
                log::info!("the configuration has been read again");
            }
            Err(error) => {
                log::error!("the configuration stays as it was: {error}");
                // The log may have been rotated.
                self.shared.audit.reopen(self.config.audit_log.as_deref());
            }
        }
        service_manager::ready();
    }

    /// Passes a configuration to the listeners.
    ///
    /// # Errors
    /// Returns why a new listener cannot start.
    fn apply(&mut self, (config, network): (Config, Network)) -> Result<Config> {
        self.services.reload(&config.listeners, &network, self.reread.as_ref())?;
        Ok(config)
    }

    /// Tells the service manager the state of a service.
    fn set_status(&mut self, service: usize, state: ServiceState, status: String) {
        let service = self.services.get(service);
        (service.state, service.status) = (state, status);
        self.count_connected(true);
        service_manager::status(&self.services.status());
        service_manager::ready();
    }

    /// Counts the services that are in service, unless the agent stops.
    fn count_connected(&self, is_serving: bool) {
        let connected = |service: &Service| is_serving && service.state == ServiceState::InService;
        let services = self.services.iter();
        self.shared
            .figures
            .connected(services.map(|service| (service.listener.service(), connected(service))));
    }

    /// Waits for streams to end, then ends the others.
    async fn stop(mut self, orders: &mut mpsc::Receiver<Order>, has_successor: bool) {
        let open = self.streams.len();
        let limit = if has_successor {
            log::info!("left the hub, with {open} streams open");
            // The successor's own take its place.
            self.export.end();
            service_manager::left();
            self.config.restart_timeout
        } else {
            service_manager::stopping();
            log::info!("stopping, with {open} streams open");
            self.config.stop_timeout
        };
        let ended = async { while self.streams.join_next().await.is_some() {} };
        let second_stop = async { while let Some(Order::Reload(_) | Order::Leave) = orders.recv().await {} };
        tokio::select! {
            () = ended => {}
            () = sleep(limit) => {}
            () = second_stop => {}
        }
        self.stopping.send_replace(true);
        let ended = async { while self.streams.join_next().await.is_some() {} };
        if timeout(STREAM_END, ended).await.is_err() {
            log::warn!("{} streams did not end in time", self.streams.len());
        }
        self.export.end();
    }
}

#[cfg(test)]
mod tests;
