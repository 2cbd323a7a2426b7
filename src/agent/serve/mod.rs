//! The agent's supervisor: it takes offers from its listener and orders from outside, and keeps the streams.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::approval::Terminal;
use super::audit::Audit;
use super::config::Config;
use super::flood::Flood;
use super::sessions::Sessions;
use super::stream::{self, Shared, StreamContext};
use super::traffic::Traffic;
use crate::backend::{self, Cause, Event, Offer, Offers, Rejection, Reread};
use crate::error::{Error, Result};
use crate::logging;
use crate::net::Network;
use crate::platform::{service_manager, signals};

/// How many streams beyond max-sessions may wait for their rejection. Further offers are rejected at once: a service can
/// send them faster than they can be decided on.
const BEING_REJECTED: usize = 64;

/// How many offers of one kind that are rejected at once are logged singly, within the time of one notice.
const LOGGED_SINGLY: u32 = 20;

/// How long the listener may take to end; longer than it needs.
const LISTENER_END: Duration = Duration::from_secs(5);

/// How long streams may take that were told to end.
const STREAM_END: Duration = Duration::from_secs(5);

/// What a running agent is told.
#[derive(Debug)]
pub enum Order {
    /// Use another configuration from now on, or report what is wrong with it. Live streams keep theirs.
    Reload(Result<Box<(Config, Network)>>),
    /// End, with time for streams to end by themselves. A second one ends the agent at once.
    Stop,
}

struct Agent {
    config: Arc<Config>,
    offers: Offers,
    reread: Option<Reread>,
    shared: Arc<Shared>,
    streams: JoinSet<()>,
    stopping: watch::Sender<bool>,
    /// Offers while there are too many streams.
    flood: Flood,
    /// Offers that no stream can come of.
    unusable: Flood,
    /// Offers whose rejection is clear at once.
    hopeless: Flood,
}

/// Serves the device until it is ordered to stop, or nobody can order any more. Losing the service never ends it, and
/// does not touch live streams. `reread` reads the configuration again, for a credential that the service refuses.
///
/// # Errors
/// What is wrong from the start, such as a ready token that has expired.
pub async fn serve(
    config: Config,
    network: Network,
    reread: Option<Reread>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<()> {
    let offers = config.listener.clone().listen(network, reread.clone())?;
    // A file that must not grow any more is then an error like any other, and does not end the process.
    signals::survive_file_size_limit();
    let agent = Agent::new(config, offers, reread);
    let audit = agent.shared.audit.clone();
    tokio::select! {
        ended = agent.run(&mut orders) => ended,
        never = service_manager::watchdog() => match never {},
        never = audit.keep_trying() => match never {},
    }
}

impl Agent {
    fn new(config: Config, offers: Offers, reread: Option<Reread>) -> Self {
        let shared = Shared {
            audit: Audit::open(config.audit_log.as_deref()),
            sessions: Arc::new(Sessions::default()),
            traffic: Traffic::new(),
            terminal: Terminal::default(),
        };
        Self {
            config: Arc::new(config),
            offers,
            reread,
            shared: Arc::new(shared),
            streams: JoinSet::new(),
            stopping: watch::Sender::new(false),
            flood: Flood::new(1),
            unusable: Flood::new(LOGGED_SINGLY),
            hopeless: Flood::new(LOGGED_SINGLY),
        }
    }

    async fn run(mut self, orders: &mut mpsc::Receiver<Order>) -> Result<()> {
        loop {
            // Events come last, so that a service that never stops sending offers delays nothing else.
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Reload(new)) => self.reload(new),
                    Some(Order::Stop) | None => break,
                },
                Some(ended) = self.streams.join_next() => if let Err(error) = ended {
                    log::error!("a stream ended with a bug: {error}");
                },
                event = self.offers.next() => match event {
                    Some(event) => self.take(event),
                    None => return Err(Error::Bug("the listener has ended".into())),
                },
            }
        }
        self.offers.order(backend::Order::Stop);
        let ended = async {
            while let Some(event) = self.offers.next().await {
                self.take(event);
            }
        };
        if timeout(LISTENER_END, ended).await.is_err() {
            log::warn!("the listener did not end in time");
        }
        self.stop(orders).await;
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::InService(listener) => {
                let in_service =
                    format!("in service as device {} at {}", listener.device(), listener.service());
                self.config = Arc::new(Config { listener, ..(*self.config).clone() });
                log::info!("{in_service}");
                service_manager::status(&in_service);
                service_manager::ready();
            }
            Event::Trouble { error, again } => {
                let trouble = format!("{error}; trying again in {:.1} s", again.as_secs_f64());
                log::warn!("{trouble}");
                if let Some(hint) = error.hint() {
                    log::info!("hint: {hint}");
                }
                logging::causes(&error);
                service_manager::status(&trouble);
                // A machine must boot without its service: the agent is up, and keeps trying.
                service_manager::ready();
            }
            Event::Offer(offer) => self.offered(offer),
            Event::Unusable { stream, problem } => {
                if let Some(count) = self.unusable.rejected() {
                    self.log_rejected(&stream, &problem, count);
                }
            }
        }
    }

    /// Opens the stream of an offer, or rejects it at once where the outcome is clear.
    fn offered(&mut self, offer: Offer) {
        if self.streams.len() >= self.config.max_sessions.saturating_add(BEING_REJECTED) {
            if let Some(count) = self.flood.rejected() {
                let why = format!("there are too many offers at once: {count} are rejected unseen");
                self.shared.audit.stream(&offer.stream).rejected(&why);
            }
            return offer.reply.reject(&Rejection::new(Cause::Limit, "there are too many offers at once"));
        }
        // A clear rejection needs no task and, when there are many, no line each.
        if let Err(rejection) = stream::permit(&offer.stream, &self.config, &self.shared) {
            if let Some(count) = self.hopeless.rejected() {
                self.log_rejected(&offer.stream, &rejection.reason, count);
            }
            return offer.reply.reject(&rejection);
        }
        let context = StreamContext {
            config: self.config.clone(),
            shared: self.shared.clone(),
            stopping: self.stopping.subscribe(),
        };
        self.streams.spawn(stream::run(offer, context));
    }

    /// Logs an offer of `stream` that was rejected at once, the last of `count` like it.
    fn log_rejected(&self, stream: &str, why: &str, count: u64) {
        let record = self.shared.audit.stream(stream);
        record.offered(&self.config.listener.device(), &self.config.listener.service());
        let more = if count > 1 { format!(" ({count} of that kind)") } else { String::new() };
        record.rejected(&format!("{why}{more}"));
    }

    fn reload(&mut self, new: Result<Box<(Config, Network)>>) {
        service_manager::reloading();
        match new.and_then(|new| self.apply(*new)) {
            Ok(config) => {
                self.shared.audit.reopen(config.audit_log.as_deref());
                self.config = Arc::new(config);
                log::info!("the configuration has been read again");
            }
            Err(error) => {
                log::error!("the configuration stays as it was: {error}");
                // Logs may have been rotated all the same.
                self.shared.audit.reopen(self.config.audit_log.as_deref());
            }
        }
        service_manager::ready();
    }

    /// Gives the listener another configuration, or starts that of another backend in its place.
    ///
    /// # Errors
    /// Why the other backend's listener does not start.
    fn apply(&mut self, (config, network): (Config, Network)) -> Result<Config> {
        let listener = config.listener.clone();
        if listener.is_same_backend(&*self.config.listener) {
            self.offers.order(backend::Order::Reload(listener, network));
        } else {
            // Dropping the offers of the listener before is its order to stop.
            self.offers = listener.listen(network, self.reread.clone())?;
        }
        Ok(config)
    }

    /// Gives streams the time to end by themselves, then tells them to.
    async fn stop(mut self, orders: &mut mpsc::Receiver<Order>) {
        service_manager::stopping();
        log::info!("stopping, with {} streams open", self.streams.len());
        let ended = async { while self.streams.join_next().await.is_some() {} };
        let second_stop = async { while let Some(Order::Reload(_)) = orders.recv().await {} };
        tokio::select! {
            () = ended => {}
            () = sleep(self.config.stop_timeout) => {}
            () = second_stop => {}
        }
        self.stopping.send_replace(true);
        let ended = async { while self.streams.join_next().await.is_some() {} };
        if timeout(STREAM_END, ended).await.is_err() {
            log::warn!("{} streams did not end in time", self.streams.len());
        }
    }
}

#[cfg(test)]
mod tests;
