//! Every order of what can happen around the renewal of a hub connection, up to a length, and what must come out of it.

mod hub;
mod model;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::hub::{Hub, Told};
use self::model::{Model, can_follow};
use super::super::hub_listener::ConnectionSettings;
use super::*;
use crate::backend::Reply;
use crate::error::Error;
use crate::time::interleavings::{each_order, steps};
use crate::time::phase::Phase;

/// The life of a token: a login is renewed after 5100 s, and after 5700 s even with an open offer.
const LIFE: u64 = 6000;

/// Reaches the first of these times, and from there the second. Waits between attempts are short beside both.
const LONG: u64 = 5400;
const SHORT: u64 = 400;

/// In this time, every task comes to wait.
const SETTLE: Duration = Duration::from_millis(5);

/// How much later than at once an attempt may come.
const LONGEST_WAIT: u64 = 65;

steps! {
    /// The hub offers a stream, and the agent answers the first offer that is open.
    HubOffers,
    AgentAnswers,
    /// The hub ends the connection.
    Cuts,
    /// From now on the hub cannot be reached, refuses each login, or is well.
    GoesAway,
    Refuses,
    Recovers,
    Reloads,
    Stops,
    Long,
    Short,
}

use Step::*;

/// What comes out of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The logins: whether each replaced one in service, and when it came.
    logins: Vec<(bool, u64)>,
    /// The offers that the agent received, and the answers that reached the hub.
    offers: usize,
    answers: Vec<usize>,
    is_connected: bool,
    has_ended: bool,
}

impl Outcome {
    /// Whether both are the same, but for the waits between attempts.
    fn is_like(&self, other: &Self) -> bool {
        let without_times = |outcome: &Self| {
            let mut outcome = outcome.clone();
            outcome.logins.iter_mut().for_each(|login| login.1 = 0);
            outcome
        };
        let mut logins = self.logins.iter().zip(&other.logins);
        without_times(self) == without_times(other) && logins.all(|(a, b)| a.1.abs_diff(b.1) <= LONGEST_WAIT)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Well,
    Away,
    Refusing,
}

/// An agent's listener that goes through an order.
struct Run {
    hub: Arc<Mutex<Hub>>,
    network: Network,
    offers: Offers,
    task: tokio::task::JoinHandle<()>,
    since: Instant,
    logins: Vec<(bool, u64)>,
    offered: usize,
    replies: VecDeque<Box<dyn Reply>>,
}

fn short_lived() -> Arc<HubListener> {
    let listener = listener();
    let (keepalive, token_life) = (Duration::from_secs(1767), Duration::from_secs(LIFE));
    let settings = ConnectionSettings { keepalive, token_life, ..listener.settings };
    Arc::new(HubListener { settings, ..(*listener).clone() })
}

impl Run {
    async fn new(network: &Network) -> Self {
        let (offers, source) = Offers::channel();
        let hub = Arc::new(Mutex::new(Hub::default()));
        let dialled = hub.clone();
        let mut task = Task::new(short_lived(), network.clone(), None, source);
        task.dial = Arc::new(move |_, _| {
            let (io, theirs) = tokio::io::duplex(65_536);
            let is_away = dialled.lock().unwrap().health == Health::Away;
            let serving = Hub::serve(dialled.clone(), theirs);
            Box::pin(async move {
                if is_away {
                    return Err(Error::network(Phase::TCP, "hub", "refused"));
                }
                tokio::spawn(serving);
                Ok(Box::new(io) as MqttIo)
            })
        });
        let mut run = Self {
            hub,
            network: network.clone(),
            offers,
            task: tokio::spawn(task.run()),
            since: Instant::now(),
            logins: Vec::new(),
            offered: 0,
            replies: VecDeque::new(),
        };
        run.pass(SETTLE).await;
        run
    }

    /// Lets time pass, and takes what has come.
    async fn pass(&mut self, time: Duration) {
        let mut passing = std::pin::pin!(sleep(time));
        loop {
            tokio::select! {
                biased;
                Some(event) = self.offers.next(), if !self.task.is_finished() => match event {
                    Event::InService { login, .. } => {
                        self.logins.push((login.is_renewal, self.since.elapsed().as_secs()));
                    }
                    Event::Offer(offer) => {
                        self.offered += 1;
                        self.replies.push_back(offer.reply);
                    }
                    Event::Trouble { .. } => {}
                    other => panic!("{other:?}"),
                },
                () = &mut passing => return,
            }
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            HubOffers => self.hub.lock().unwrap().tell(Told::Offer(self.offered)),
            AgentAnswers => {
                let reply = self.replies.pop_front().unwrap();
                reply.reject(&Rejection::new(Cause::Target, "no"));
            }
            Cuts => self.hub.lock().unwrap().tell(Told::Cut),
            GoesAway => self.hub.lock().unwrap().health = Health::Away,
            Refuses => self.hub.lock().unwrap().health = Health::Refusing,
            Recovers => self.hub.lock().unwrap().health = Health::Well,
            Reloads => self.offers.order(Order::Reload(short_lived(), self.network.clone())),
            Stops => self.offers.order(Order::Stop),
            Long => self.pass(Duration::from_secs(LONG)).await,
            Short => self.pass(Duration::from_secs(SHORT)).await,
        }
        self.pass(SETTLE).await;
    }

    async fn outcome(mut self) -> Outcome {
        let has_ended = timeout(Duration::ZERO, &mut self.task).await.is_ok();
        let hub = self.hub.lock().unwrap();
        let is_connected = hub.connections.iter().any(Option::is_some);
        let answers = hub.answers.clone();
        Outcome { logins: self.logins, offers: self.offered, answers, is_connected, has_ended }
    }
}

/// Goes through all orders of at most `depth` steps. Returns the number of orders.
fn explore(depth: usize) -> usize {
    let network = network();
    each_order(ALL, depth, can_follow, async |order| {
        let mut run = Run::new(&network).await;
        for step in order {
            run.take(*step).await;
        }
        let (seen, models) = (run.outcome().await, Model::all(order));
        let expected: Vec<_> = models.iter().map(|model| &model.outcome).collect();
        assert!(expected.iter().any(|outcome| seen.is_like(outcome)), "{seen:?}, not one of {expected:?}");
    })
}

#[test]
fn steps_one_after_the_other() {
    assert!(explore(3) > 300);
}

#[test]
#[ignore = "slow: longer orders"]
fn longer_orders() {
    assert!(explore(4) > 2000);
}
