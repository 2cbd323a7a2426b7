//! Every order of what can happen to the supervisor, up to a length, and what must come out of it.

use super::*;
use crate::backend::Login;
use crate::time::interleavings::{self, permutations, settle};

/// The streams that the configuration allows.
const MOST: usize = 2;
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RESTART_TIMEOUT: Duration = Duration::from_secs(100);

/// Longer than the limits of a stop, and longer than those of a restart.
const WHILE: Duration = Duration::from_secs(30);
const AGES: Duration = Duration::from_secs(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The listener is in service, or has lost it.
    InService,
    Trouble,
    Offers,
    /// An offer whose target cannot be reached, and one without a target.
    OffersUnreachable,
    OffersUnknown,
    /// The user of the first live stream ends it.
    StreamEnds,
    Reloads,
    /// The new configuration has no target.
    ReloadsEmpty,
    ReloadsAnotherBackend,
    /// The new configuration is invalid.
    ReloadFails,
    Stops,
    Leaves,
    /// The listener ends.
    ListenerEnds,
    While,
    Ages,
}

use Step::*;

const ALL: [Step; 15] = [
    InService,
    Trouble,
    Offers,
    OffersUnreachable,
    OffersUnknown,
    StreamEnds,
    Reloads,
    ReloadsEmpty,
    ReloadsAnotherBackend,
    ReloadFails,
    Stops,
    Leaves,
    ListenerEnds,
    While,
    Ages,
];

/// What comes out of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The replies to the offers.
    replies: Vec<&'static str>,
    /// What the listeners were told.
    orders: Vec<&'static str>,
    /// The streams that still carry bytes, and those that the agent has ended.
    live: usize,
    ended: usize,
    /// How the agent ended.
    end: Option<&'static str>,
}

/// What a supervisor promises.
#[derive(Clone, Default)]
struct Model {
    outcome: Outcome,
    has_no_target: bool,
    is_another_backend: bool,
    /// The time since a stop, and the limit of the streams then.
    stopped: Option<(Duration, Duration)>,
    /// When the listener had ended, since a stop.
    left: Option<Duration>,
    is_stopped_twice: bool,
}

impl Model {
    fn of(order: &[Step]) -> Self {
        let mut model = Self::default();
        order.iter().for_each(|step| model.take(*step));
        model
    }

    fn is_over(&self) -> bool {
        self.outcome.end.is_some()
    }

    fn take(&mut self, step: Step) {
        if self.is_over() {
            return;
        }
        let outcome = &mut self.outcome;
        match step {
            InService | Trouble | ReloadFails => {}
            // Nobody takes them any more.
            Offers | OffersUnreachable | OffersUnknown if self.left.is_some() => {}
            Offers if self.has_no_target => outcome.replies.push("no target"),
            Offers if outcome.live >= MOST => outcome.replies.push("limit"),
            Offers => {
                outcome.replies.push("accepted");
                outcome.live += 1;
            }
            OffersUnreachable if self.has_no_target || outcome.live < MOST => {
                outcome.replies.push("no target");
            }
            OffersUnreachable => outcome.replies.push("limit"),
            OffersUnknown => outcome.replies.push("no target"),
            StreamEnds => outcome.live = outcome.live.saturating_sub(1),
            // A stopping agent reloads nothing.
            Reloads | ReloadsEmpty | ReloadsAnotherBackend if self.stopped.is_some() => {}
            Reloads | ReloadsEmpty => {
                outcome.orders.push("reload");
                self.has_no_target = step == ReloadsEmpty;
            }
            ReloadsAnotherBackend => {
                outcome.orders.push("stop");
                (self.has_no_target, self.is_another_backend) = (false, !self.is_another_backend);
            }
            Stops | Leaves => match self.stopped {
                None => {
                    outcome.orders.push("stop");
                    let limit = if step == Stops { STOP_TIMEOUT } else { RESTART_TIMEOUT };
                    self.stopped = Some((Duration::ZERO, limit));
                }
                Some(_) => self.is_stopped_twice |= step == Stops,
            },
            ListenerEnds => match self.stopped {
                None => {
                    // Its streams end with it.
                    (outcome.ended, outcome.live) = (outcome.ended + outcome.live, 0);
                    outcome.end = Some("bug");
                }
                Some((since, _)) => self.left = self.left.or(Some(since)),
            },
            While => self.pass(WHILE),
            Ages => self.pass(AGES),
        }
        self.look();
    }

    fn pass(&mut self, time: Duration) {
        if let Some((since, _)) = &mut self.stopped {
            *since += time;
            self.left = self.left.or(Some(LISTENER_END));
        }
    }

    /// Whether a stop is complete: nobody waits for streams longer than he must.
    fn look(&mut self) {
        let outcome = &mut self.outcome;
        if let (Some((since, limit)), Some(left)) = (self.stopped, self.left)
            && (outcome.live == 0 || self.is_stopped_twice || since >= left + limit)
        {
            (outcome.ended, outcome.live) = (outcome.ended + outcome.live, 0);
            outcome.end = Some("stopped");
        }
    }
}

/// Whether a step can come next.
fn can_follow(order: &[Step], step: Step) -> bool {
    let (model, has) = (Model::of(order), |step| order.contains(&step));
    let most = if step == Offers { MOST + 1 } else { 1 };
    let is_possible = match step {
        Offers | OffersUnreachable | OffersUnknown => model.left.is_none(),
        // These change nothing, and one of them in an order is enough.
        InService | Trouble | ReloadFails if has(InService) || has(Trouble) || has(ReloadFails) => false,
        InService | Trouble => model.left.is_none(),
        StreamEnds => model.outcome.live > 0,
        ListenerEnds => model.left.is_none() && !has(ListenerEnds),
        // Two orders to stop may wait, and no more.
        Reloads | ReloadsEmpty | ReloadsAnotherBackend | ReloadFails => model.stopped.is_none(),
        While | Ages => model.stopped.is_some(),
        Stops | Leaves => true,
    };
    is_possible && !model.is_over() && order.iter().filter(|other| **other == step).count() < most
}

/// An agent that goes through an order.
struct Run {
    served: Served,
    network: Network,
    /// The listeners' ends, of which the last is in use, and whether each was told to stop. `None` has ended.
    sources: Vec<(Option<Source>, bool)>,
    orders: Vec<&'static str>,
    offered: Vec<oneshot::Receiver<std::result::Result<DuplexStream, Rejection>>>,
    replies: Vec<&'static str>,
    streams: Vec<DuplexStream>,
    is_another_backend: bool,
}

fn listener(told: &mpsc::UnboundedSender<Source>, is_another_backend: bool) -> Arc<dyn Listener> {
    if is_another_backend { Arc::new(Memory::<1>(told.clone())) } else { Arc::new(Memory::<0>(told.clone())) }
}

fn limited_config(
    told: &mpsc::UnboundedSender<Source>,
    is_another_backend: bool,
    has_target: bool,
) -> Config {
    let target = |stream, address| Target::new(stream, address);
    let unreachable = Address::parse("/nonexistent/socket").unwrap();
    let targets = vec![target("echo", Address::Builtin(Builtin::Echo)), target("unreachable", unreachable)];
    let listener = listener(told, is_another_backend);
    Config {
        max_sessions: MOST,
        // Nothing but what is sent comes back.
        stream_keepalive: None,
        stop_timeout: STOP_TIMEOUT,
        restart_timeout: RESTART_TIMEOUT,
        ..Config::with(vec![listener], if has_target { targets } else { Vec::new() })
    }
}

impl Run {
    async fn new(network: &Network) -> Self {
        let (told, sources) = mpsc::unbounded_channel();
        let (orders, taken) = mpsc::channel(4);
        let agent = tokio::spawn(serve(limited_config(&told, false, true), network.clone(), None, taken));
        let mut served = Served { told, sources, orders, agent };
        let source = served.sources.recv().await;
        settle().await;
        Self {
            served,
            network: network.clone(),
            sources: vec![(source, false)],
            orders: Vec::new(),
            offered: Vec::new(),
            replies: Vec::new(),
            streams: Vec::new(),
            is_another_backend: false,
        }
    }

    fn event(&self, event: Event) {
        if let Some((Some(source), _)) = self.sources.last() {
            let events = source.events.clone();
            // The agent may have stopped taking events.
            tokio::spawn(async move { drop(events.send(event).await) });
        }
    }

    fn offer(&mut self, stream: &str) {
        let (answer, answered) = oneshot::channel();
        let reply = Box::new(Answer(answer));
        self.event(Event::Offer(Offer {
            stream: stream.into(),
            id: None,
            requester: None,
            is_approved: false,
            reply,
        }));
        self.offered.push(answered);
    }

    fn order(&self, order: Order) {
        assert!(self.served.orders.try_send(order).is_ok(), "too many orders at once");
    }

    fn reload(&self, has_target: bool) {
        let config = limited_config(&self.served.told, self.is_another_backend, has_target);
        self.order(Order::Reload(Ok(Box::new((config, self.network.clone())))));
    }

    async fn take(&mut self, step: Step) {
        match step {
            InService => {
                let listener = listener(&self.served.told, self.is_another_backend);
                self.event(Event::InService { listener, remark: None, login: Login::default() });
            }
            Trouble => {
                let error = Error::Bug("a test's".into());
                self.event(Event::Trouble { error, retry_in: Duration::from_secs(1) });
            }
            Offers => self.offer("echo"),
            OffersUnreachable => self.offer("unreachable"),
            OffersUnknown => self.offer("none"),
            StreamEnds => {
                let mut first = self.streams.remove(0);
                tokio::spawn(async move {
                    first.write_all(b"\x88\x02\x03\xe8").await.unwrap();
                    first.read_to_end(&mut Vec::new()).await.unwrap();
                });
            }
            Reloads => self.reload(true),
            ReloadsEmpty => self.reload(false),
            ReloadsAnotherBackend => {
                self.is_another_backend = !self.is_another_backend;
                self.reload(true);
            }
            ReloadFails => self.order(Order::Reload(Err(Error::Bug("a test's".into())))),
            Stops => self.order(Order::Stop),
            Leaves => self.order(Order::Leave),
            ListenerEnds => self.sources.last_mut().unwrap().0 = None,
            While => sleep(WHILE).await,
            Ages => sleep(AGES).await,
        }
    }

    /// Settles, and takes what has come.
    async fn settle(&mut self) {
        settle().await;
        for (source, is_stopped) in &mut self.sources {
            while let (Some(source), false) = (&mut *source, *is_stopped)
                && let Ok(order) = timeout(Duration::ZERO, source.orders.next()).await
            {
                *is_stopped = matches!(order, backend::Order::Stop);
                self.orders.push(if *is_stopped { "stop" } else { "reload" });
            }
        }
        while let Ok(source) = self.served.sources.try_recv() {
            self.sources.push((Some(source), false));
        }
        let mut waiting = Vec::new();
        for mut offered in self.offered.drain(..) {
            match offered.try_recv() {
                Ok(Ok(stream)) => {
                    self.replies.push("accepted");
                    self.streams.push(stream);
                }
                Ok(Err(Rejection { cause: Cause::Target, .. })) => self.replies.push("no target"),
                Ok(Err(Rejection { cause: Cause::Limit, .. })) => self.replies.push("limit"),
                Ok(Err(rejection)) => panic!("{rejection:?}"),
                Err(oneshot::error::TryRecvError::Empty) => waiting.push(offered),
                Err(oneshot::error::TryRecvError::Closed) => self.replies.push("dropped"),
            }
        }
        self.offered = waiting;
    }

    /// What has come out. `is_over`: the agent must end, once its streams have closed.
    async fn outcome(mut self, is_over: bool) -> Outcome {
        let limit = Duration::from_secs(if is_over { 2 } else { 0 });
        let end = match timeout(limit, &mut self.served.agent).await {
            Err(_) => None,
            Ok(ended) => Some(if ended.unwrap().is_ok() { "stopped" } else { "bug" }),
        };
        self.settle().await;
        let mut outcome = Outcome { replies: self.replies, orders: self.orders, live: 0, ended: 0, end };
        for mut stream in self.streams {
            // Fails if it has ended.
            let _ = stream.write_all(b"\x82\x01x").await;
            settle().await;
            let mut back = [0; 7];
            match timeout(Duration::ZERO, stream.read_exact(&mut back)).await {
                Ok(Ok(_)) if back[0] == 0x82 && back[6] ^ back[2] == b'x' => outcome.live += 1,
                Ok(_) => outcome.ended += 1,
                Err(_) => panic!("a stream carries nothing"),
            }
        }
        outcome
    }
}

/// Whether steps can come at once: not those that need what has come before, or an end of a listener that a reload removes.
fn can_coincide(steps: &[Step]) -> bool {
    let has = |step| steps.contains(&step);
    steps.len() == 1
        || !(has(StreamEnds) || has(While) || has(Ages) || has(ListenerEnds) && has(ReloadsAnotherBackend))
}

impl Outcome {
    /// What is compared after steps at once: a listener sees only the last order, and a bug in one ends everything.
    fn at_once(mut self) -> Self {
        self.orders.clear();
        if self.end == Some("bug") { Self { end: self.end, ..Self::default() } } else { self }
    }
}

/// Goes through all orders of at most `depth` steps, of which the last `at_once` come at once and the others one after the
/// other. Returns the number of orders.
fn explore(depth: usize, at_once: usize) -> usize {
    let network = network();
    interleavings::each_order(&ALL, depth, can_follow, async |order| {
        let (before, at_once) = order.split_at(order.len().saturating_sub(at_once));
        if !can_coincide(at_once) {
            return;
        }
        let mut run = Run::new(&network).await;
        for step in before {
            run.take(*step).await;
            run.settle().await;
        }
        for step in at_once {
            run.take(*step).await;
        }
        run.settle().await;
        let all = permutations(at_once);
        let models: Vec<_> = all.iter().map(|order| Model::of(&[before, order].concat())).collect();
        let seen = run.outcome(models.iter().any(Model::is_over)).await;
        let is_expected = |model: &Model| match at_once.len() {
            1 => model.outcome == seen,
            _ => model.outcome.clone().at_once() == seen.clone().at_once(),
        };
        let expected: Vec<_> = models.iter().map(|model| &model.outcome).collect();
        assert!(models.iter().any(is_expected), "{seen:?}, not {expected:?}");
    })
}

#[test]
fn steps_one_after_the_other() {
    assert!(explore(3, 1) > 700);
}

#[test]
#[ignore = "slow: longer orders"]
fn longer_orders() {
    assert!(explore(4, 1) > 4000);
}

#[test]
fn two_steps_at_once() {
    assert!(explore(3, 2) > 700);
}
