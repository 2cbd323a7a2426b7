//! Every order of what can happen around the renewal of a control channel, up to a length, and what must come out of it.

mod model;
mod service;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::time::{Instant, sleep, timeout};

use self::model::{Model, can_follow};
use self::service::{Service, State, Told};
use super::*;
use crate::time::interleavings::{each_order, permutations, steps};

/// The life of a token, which is renewed after 3000 s.
const LIFE: Duration = Duration::from_secs(4000);

/// The silence before a Ping, which is also due when a token is renewed.
const KEEPALIVE: Duration = Duration::from_secs(1000);

/// Reaches a token's renewal, and from there the hourly look at the credential. Waits between attempts are short beside both.
const LONG: u64 = 3300;
const SHORT: u64 = 400;

/// In this time, every task comes to wait.
const SETTLE: Duration = Duration::from_millis(20);

/// The time in which what has begun comes to its end: the last attempt, and the listener's end.
const REST: u64 = 100;

/// How much later or earlier than the model's an attempt may come: the waits are random.
const TOLERANCE: u64 = 40;

/// The time in which a listener ends after the order to stop.
const STOP_WITHIN: u64 = 5;

steps! {
    /// The service offers a stream over the newest control channel, and over one that is being left.
    ServiceOffers,
    OffersLate,
    /// The service ends the newest control channel as it does once a day, and without a Close.
    Closes,
    Cuts,
    /// From now on the service cannot be reached, refuses each control channel, or is well.
    GoesAway,
    Refuses,
    Recovers,
    /// The credential's file is renewed.
    FileChanges,
    /// The agent reloads the configuration, and with another credential.
    Reloads,
    ReloadsAnother,
    Stops,
    Long,
    Short,
}

use Step::*;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Well,
    Away,
    Refusing,
}

/// What the agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// A control channel is open, for this version of the credential.
    InService(usize),
    Renewed,
    /// Once or more.
    Trouble,
}

/// What comes out of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// What the agent was told, and when.
    told: Vec<(Notice, u64)>,
    /// The offers that it received, and how many of them it could still answer.
    offers: Vec<usize>,
    open_offers: usize,
    /// The control channels that the listener closed, in order.
    closed: Vec<usize>,
    /// Those that were open after the last step, unless that is random, and those that are open in the end.
    open_at_first: Option<Vec<usize>>,
    open: Vec<usize>,
    /// When the listener ended.
    ended: Option<u64>,
}

impl Outcome {
    fn tell(&mut self, told: Notice, at: u64) {
        if told != Notice::Trouble || self.told.last().is_none_or(|last| last.0 != told) {
            self.told.push((told, at));
        }
    }

    /// Whether both are the same, but for the waits between attempts and of the end.
    fn is_like(&self, other: &Self) -> bool {
        let without_times = |outcome: &Self| {
            let mut outcome = outcome.clone();
            outcome.open_at_first = None;
            outcome.told.iter_mut().for_each(|told| told.1 = 0);
            outcome.ended = outcome.ended.map(|_| 0);
            outcome
        };
        let mut told = self.told.iter().zip(&other.told);
        without_times(self) == without_times(other)
            && other.open_at_first.as_ref().is_none_or(|_| self.open_at_first == other.open_at_first)
            && told.all(|(a, b)| a.1.abs_diff(b.1) <= TOLERANCE)
            && self.ended.unwrap_or(0).abs_diff(other.ended.unwrap_or(0)) <= STOP_WITHIN
    }
}

/// A listener that goes through an order.
struct Run {
    service: Arc<Mutex<Service>>,
    network: Network,
    offers: Offers,
    task: JoinHandle<()>,
    since: Instant,
    /// The credential's file, whose length is its version.
    path: PathBuf,
    outcome: Outcome,
    offered: usize,
    open_offers: Vec<Offer>,
}

/// The listener that is configured with the credential's file.
fn configured(path: &Path) -> Arc<RelayListener> {
    let files = WatchedFiles::of(path);
    let version = std::fs::metadata(path).map_or(0, |file| file.len());
    let text = format!(
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName={version};SharedAccessKey=c2VjcmV0;EntityPath=site/Gw"
    );
    let listener = device(|settings| {
        settings.access = RelayAccess::ConnectionString(Secret::new(text));
        (settings.files, settings.token_life) = (files, Some(LIFE));
    });
    Arc::new(RelayListener { keepalive: KEEPALIVE, ..(*listener).clone() })
}

impl Run {
    async fn new(network: &Network, path: PathBuf) -> Self {
        let (offers, source) = Offers::channel();
        let service = Arc::new(Mutex::new(Service::default()));
        let (reread, dialled) = (path.clone(), service.clone());
        let reread: Reread = Arc::new(move || Ok(configured(&reread)));
        let mut task = Task::new(configured(&path), network.clone(), Some(reread), source);
        task.dial = Arc::new(move |device, _| Box::pin(Service::dial(dialled.clone(), device)));
        let mut run = Self {
            service,
            network: network.clone(),
            offers,
            task: tokio::spawn(task.run()),
            since: Instant::now(),
            path,
            outcome: Outcome::default(),
            offered: 0,
            open_offers: Vec::new(),
        };
        run.pass(SETTLE).await;
        run
    }

    /// Lets time pass, and takes what has come.
    async fn pass(&mut self, time: Duration) {
        let mut passing = std::pin::pin!(sleep(time));
        loop {
            let event = tokio::select! {
                biased;
                event = self.offers.next(), if self.outcome.ended.is_none() => event,
                () = &mut passing => return,
            };
            let now = self.since.elapsed().as_secs();
            match event {
                Some(Event::InService { listener, login, .. }) => {
                    assert!(!login.is_renewal && login.credential_ends.is_none());
                    let listener = listener.downcast::<RelayListener>().unwrap();
                    let described = listener.credential.describe();
                    let version = described.rsplit(' ').next().unwrap().parse().unwrap();
                    self.outcome.tell(Notice::InService(version), now);
                }
                Some(Event::Renewed) => self.outcome.tell(Notice::Renewed, now),
                Some(Event::Trouble { .. }) => self.outcome.tell(Notice::Trouble, now),
                Some(Event::Offer(offer)) => {
                    self.outcome.offers.push(offer.id.as_ref().unwrap().parse().unwrap());
                    self.open_offers.push(offer);
                }
                Some(other) => panic!("{other:?}"),
                None => self.outcome.ended = Some(now),
            }
        }
    }

    fn offer(&mut self, state: State) {
        self.service.lock().unwrap().tell(state, Told::Offer(self.offered));
        self.offered += 1;
    }

    fn renew_file(&self) {
        let mut file = std::fs::File::options().create(true).append(true).open(&self.path).unwrap();
        file.write_all(b".").unwrap();
    }

    fn reload(&self) {
        self.offers.order(Order::Reload(configured(&self.path), self.network.clone()));
    }

    async fn take(&mut self, step: Step) {
        match step {
            ServiceOffers => self.offer(State::Open),
            OffersLate => self.offer(State::Left),
            Closes => self.service.lock().unwrap().tell(State::Open, Told::Close),
            Cuts => self.service.lock().unwrap().tell(State::Open, Told::Cut),
            GoesAway => drop(self.service.lock().unwrap().health.send_replace(Health::Away)),
            Refuses => drop(self.service.lock().unwrap().health.send_replace(Health::Refusing)),
            Recovers => drop(self.service.lock().unwrap().health.send_replace(Health::Well)),
            FileChanges => self.renew_file(),
            Reloads => self.reload(),
            ReloadsAnother => {
                self.renew_file();
                self.reload();
            }
            Stops => self.offers.order(Order::Stop),
            Long => self.pass(Duration::from_secs(LONG)).await,
            Short => self.pass(Duration::from_secs(SHORT)).await,
        }
    }

    fn open(&self) -> Vec<usize> {
        let service = self.service.lock().unwrap();
        let channels = service.channels.iter().enumerate();
        channels.filter(|(_, channel)| channel.state == State::Open).map(|(at, _)| at).collect()
    }

    /// What has come out. In the end, the service is well.
    async fn outcome(mut self) -> Outcome {
        for offer in &self.open_offers {
            let is_open = timeout(Duration::ZERO, offer.reply.withdrawn()).await.is_err();
            self.outcome.open_offers += usize::from(is_open);
        }
        self.outcome.open_at_first = Some(self.open());
        self.take(Recovers).await;
        self.pass(Duration::from_secs(REST)).await;
        assert_eq!(self.task.is_finished(), self.outcome.ended.is_some());
        let open = self.open();
        let service = self.service.lock().unwrap();
        let is_answered = service.channels.iter().all(|channel| channel.state != State::Left);
        assert!(is_answered, "the listener did not wait for the answer to its Close");
        let closed = service.closed.clone();
        let mut offers = self.outcome.offers;
        offers.sort_unstable();
        Outcome { offers, open, closed, ..self.outcome }
    }
}

/// Goes through all orders of at most `depth` steps, of which the last `at_once` come at once and the others one after the
/// other. Returns the number of orders.
fn explore(depth: usize, at_once: usize) -> usize {
    let (network, directory) = (network(), tempfile::tempdir().unwrap());
    let mut count = 0;
    each_order(ALL, depth, can_follow, async |order| {
        let (before, at_once) = order.split_at(order.len().saturating_sub(at_once));
        if !can_coincide(before, at_once) {
            return;
        }
        let mut run = Run::new(&network, directory.path().join(count.to_string())).await;
        count += 1;
        for step in before {
            run.take(*step).await;
            run.pass(SETTLE).await;
        }
        for step in at_once {
            run.take(*step).await;
        }
        run.pass(SETTLE).await;
        let seen = run.outcome().await;
        let can_come =
            |steps: &[Step]| (before.len()..steps.len()).all(|at| can_follow(&steps[..at], steps[at]));
        let orders = permutations(at_once).into_iter().map(|steps| [before, &steps].concat());
        let expected: Vec<_> =
            orders.filter(|steps| can_come(steps)).map(|steps| Model::of(&steps).outcome()).collect();
        assert!(expected.iter().any(|expected| seen.is_like(expected)), "{seen:?}, not {expected:?}");
    });
    count
}

/// Whether steps can come at once: an offer that crosses an order, or a change of the file.
fn can_coincide(before: &[Step], steps: &[Step]) -> bool {
    let is_offer = |step| [ServiceOffers, OffersLate].contains(&step);
    let is_other = |step| [FileChanges, Reloads, ReloadsAnother, Stops].contains(&step);
    match steps {
        [_] => true,
        [a, b] => {
            (is_offer(*a) && is_other(*b) || is_other(*a) && is_offer(*b))
                && can_follow(before, *a)
                && can_follow(before, *b)
        }
        _ => false,
    }
}

#[test]
fn steps_one_after_the_other() {
    assert!(explore(3, 1) > 1000);
}

#[test]
#[ignore = "slow: longer orders"]
fn longer_orders() {
    assert!(explore(4, 1) > 9000);
}

#[test]
fn offers_that_cross_an_order() {
    assert!(explore(3, 2) > 90);
}
