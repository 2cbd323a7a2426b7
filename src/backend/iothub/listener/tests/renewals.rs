//! Every order of what can happen around the renewal of a hub connection, up to a length, and what must come out of it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use super::super::hub_listener::ConnectionSettings;
use super::*;
use crate::backend::Reply;
use crate::error::Error;
use crate::time::interleavings::{each_order, settle};
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
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

const ALL: [Step; 10] =
    [HubOffers, AgentAnswers, Cuts, GoesAway, Refuses, Recovers, Reloads, Stops, Long, Short];

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

/// What the agent promises of its hub connection.
#[derive(Clone)]
struct Model {
    outcome: Outcome,
    now: u64,
    health: Health,
    connection: Option<Connection>,
    /// The offers that the agent has not answered, and the login that each came with.
    open: VecDeque<(usize, usize)>,
    is_stopping: bool,
}

#[derive(Clone, Copy)]
struct Connection {
    /// When it is renewed without open offers, with open offers, and when it ends.
    at: u64,
    by: u64,
    end: u64,
    /// The hub could not be reached at a renewal, which has to wait.
    is_put_off: bool,
    /// It takes no more offers and waits for the last answers.
    is_leaving: bool,
    /// When its token ends, and the hub ends it.
    until: u64,
    /// When the token of the next login was signed.
    signed: u64,
    /// The hub has ended it, which is noticed with the next answer.
    is_cut: bool,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            outcome: Outcome::default(),
            now: 0,
            health: Health::Well,
            connection: None,
            open: VecDeque::new(),
            is_stopping: false,
        };
        model.log_in(false, 0);
        model
    }

    fn of(order: &[Step]) -> Self {
        let mut model = Self::new();
        order.iter().for_each(|step| model.take(*step));
        model
    }

    fn take(&mut self, step: Step) {
        if self.outcome.has_ended {
            return;
        }
        match step {
            HubOffers => {
                self.open.push_back((self.outcome.offers, self.outcome.logins.len()));
                self.outcome.offers += 1;
            }
            AgentAnswers => {
                let (offer, login) = self.open.pop_front().unwrap();
                match &mut self.connection {
                    Some(connection) if login == self.outcome.logins.len() => {
                        if connection.is_cut {
                            self.open.retain(|(_, other)| *other != login);
                        } else {
                            self.outcome.answers.push(offer);
                        }
                    }
                    _ => {}
                }
                self.proceed();
            }
            Cuts => self.cut(),
            GoesAway => self.health = Health::Away,
            Refuses => self.health = Health::Refusing,
            Recovers => self.health = Health::Well,
            Reloads => match &mut self.connection {
                // A new configuration is used as soon as possible, and answers take some minutes at most.
                Some(connection) if !connection.is_leaving => {
                    *connection = Connection {
                        at: self.now,
                        by: self.now + 300,
                        end: self.now + 300,
                        is_put_off: false,
                        ..*connection
                    };
                    self.proceed();
                }
                // The next connection is for the new configuration.
                Some(_) => self.log_in(true, self.now),
                None => self.log_in(false, self.now),
            },
            Stops => {
                let is_leaving = self.connection.is_some_and(|connection| connection.is_leaving);
                self.is_stopping = true;
                if self.connection.is_none() || is_leaving {
                    self.end();
                }
                self.proceed();
            }
            Long => self.pass(LONG),
            Short => self.pass(SHORT),
        }
    }

    /// The open offers of the connection.
    fn has_open(&self) -> bool {
        self.open.iter().any(|(_, login)| *login == self.outcome.logins.len())
    }

    fn end(&mut self) {
        (self.connection, self.outcome.has_ended, self.outcome.is_connected) = (None, true, false);
    }

    /// The hub ends the connection. One that waits for answers notices that when it publishes them.
    fn cut(&mut self) {
        self.outcome.is_connected = false;
        match &mut self.connection {
            Some(connection) if connection.is_leaving || self.is_stopping => connection.is_cut = true,
            _ => self.connection = None,
        }
    }

    /// A login with a token that was signed then.
    fn log_in(&mut self, is_renewal: bool, signed: u64) {
        (self.connection, self.outcome.is_connected) = (None, false);
        if self.health == Health::Well {
            self.outcome.logins.push((is_renewal, self.now));
            let (at, by, end) = (signed + LIFE * 85 / 100, signed + LIFE * 95 / 100, signed + LIFE);
            let (is_put_off, is_leaving, is_cut) = (false, false, false);
            self.connection =
                Some(Connection { at, by, end, is_put_off, is_leaving, until: end, signed, is_cut });
            self.outcome.is_connected = true;
        }
    }

    /// Does what is due.
    fn proceed(&mut self) {
        let (has_open, now) = (self.has_open(), self.now);
        let Some(connection) = &mut self.connection else { return };
        if self.is_stopping {
            if !has_open {
                self.end();
            }
            return;
        }
        let due = if has_open { connection.by } else { connection.at };
        if !connection.is_leaving && due <= now && !connection.is_put_off {
            connection.is_put_off = self.health == Health::Away;
            (connection.is_leaving, connection.signed) = (self.health != Health::Away, now);
        }
        if connection.is_leaving && (!has_open || connection.end <= now) {
            let signed = connection.signed;
            self.log_in(true, signed);
        }
    }

    /// Lets time pass, from one event to the next.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        if self.is_stopping {
            self.end();
        }
        loop {
            match &mut self.connection {
                None if self.outcome.has_ended || self.health != Health::Well => {}
                None => self.log_in(false, self.now),
                Some(connection) => connection.is_put_off = false,
            }
            self.proceed();
            let has_open = self.has_open();
            let Some(connection) = self.connection else { break };
            let next = match connection {
                Connection { is_leaving: true, end, .. } => end,
                Connection { is_put_off: true, until, .. } => until,
                Connection { by, at, until, .. } => until.min(if has_open { by } else { at }),
            };
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            if connection.until <= self.now && !connection.is_leaving {
                self.cut();
            }
        }
        self.now = until;
    }
}

/// Whether a step can come next.
fn can_follow(order: &[Step], step: Step) -> bool {
    let model = Model::of(order);
    let most = if [Long, Short, HubOffers].contains(&step) { 2 } else { 1 };
    let is_possible = match step {
        HubOffers => model.connection.is_some_and(|connection| !connection.is_leaving) && !model.is_stopping,
        AgentAnswers => !model.open.is_empty(),
        Cuts => model.connection.is_some_and(|connection| !connection.is_cut),
        GoesAway => model.health != Health::Away,
        Refuses => model.health != Health::Refusing,
        Recovers => model.health != Health::Well,
        Reloads | Stops => !model.is_stopping,
        Long | Short => true,
    };
    let times = order.iter().filter(|other| **other == step).count();
    is_possible && !model.outcome.has_ended && (times < most || step == AgentAnswers)
}

/// A hub in memory.
#[derive(Default)]
struct Hub {
    health: Health,
    /// The connections that have logged in, as the way to tell each what to do. `None` has ended.
    connections: Vec<Option<mpsc::UnboundedSender<Told>>>,
    answers: Vec<usize>,
}

/// What a hub's connection is told.
enum Told {
    Offer(usize),
    Cut,
}

impl Hub {
    /// Serves a connection to its end.
    async fn serve(hub: Arc<Mutex<Self>>, mut io: DuplexStream) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let (mut wire, mut offered, mut at) = (Vec::new(), Vec::new(), None);
        let end = Instant::now() + Duration::from_secs(LIFE);
        loop {
            while let Some(packet) = packet(&mut wire) {
                if packet[0] >> 4 == 1 {
                    // What was sent before over another connection is read first.
                    settle().await;
                }
                let answer = match packet[0] >> 4 {
                    // CONNECT.
                    1 => {
                        let mut hub = hub.lock().unwrap();
                        let others = hub.connections.iter().filter(|other| other.is_some()).count();
                        assert_eq!(others, 0, "a login before the end of another throws that out");
                        if hub.health == Health::Refusing {
                            vec![0x20, 2, 0, 2]
                        } else {
                            at = Some(hub.connections.len());
                            hub.connections.push(Some(tell.clone()));
                            vec![0x20, 2, 0, 0]
                        }
                    }
                    // PUBLISH.
                    3 => {
                        let topic = String::from_utf8_lossy(&packet);
                        let id = topic.split("$rid=").nth(1).unwrap().parse().unwrap();
                        assert!(offered.contains(&id), "an answer over another connection: {topic}");
                        hub.lock().unwrap().answers.push(id);
                        Vec::new()
                    }
                    // SUBSCRIBE, UNSUBSCRIBE and PINGREQ.
                    8 => vec![0x90, 4, packet[2], packet[3], 0, 0],
                    10 => vec![0xb0, 2, packet[2], packet[3]],
                    12 => vec![0xd0, 0],
                    _ => Vec::new(),
                };
                let _ = io.write_all(&answer).await;
            }
            tokio::select! {
                order = told.recv() => match order {
                    Some(Told::Offer(id)) => {
                        offered.push(id);
                        publish(&mut io, &format!("$iothub/streams/POST/ssh/?$rid={id}&$url=wss%3A%2F%2Fg%2Fx&$auth=t")).await;
                    }
                    _ => break,
                },
                count = io.read_buf(&mut wire) => if count.unwrap_or(0) == 0 { break },
                () = sleep_until(end) => break,
            }
        }
        if let Some(at) = at {
            hub.lock().unwrap().connections[at] = None;
        }
    }

    fn tell(&self, told: Told) {
        let alive = self.connections.iter().flatten().last().expect("a connection");
        alive.send(told).unwrap();
    }
}

/// Takes a whole packet. Its length fits two bytes.
fn packet(wire: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (header, length) = match *wire.as_slice() {
        [_, length, ..] if length < 128 => (2, usize::from(length)),
        [_, low, high, ..] => (3, usize::from(low & 127) + 128 * usize::from(high)),
        _ => return None,
    };
    let packet = wire.get(..header + length)?.to_vec();
    wire.drain(..packet.len());
    // The header as if it had two bytes.
    Some(if header == 3 { [&packet[..2], &packet[3..]].concat() } else { packet })
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
    each_order(&ALL, depth, can_follow, async |order| {
        let mut run = Run::new(&network).await;
        for step in order {
            run.take(*step).await;
        }
        let (seen, expected) = (run.outcome().await, Model::of(order).outcome);
        assert!(seen.is_like(&expected), "{seen:?}, not {expected:?}");
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
