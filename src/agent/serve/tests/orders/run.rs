//! A real supervisor that goes through an order of steps, and its listeners.

use super::*;
use crate::backend::Login;
use crate::time::interleavings::settle;

/// An agent that goes through an order.
pub(super) struct Run {
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
    pub(super) async fn new(network: &Network) -> Self {
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

    pub(super) async fn take(&mut self, step: Step) {
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
    pub(super) async fn settle(&mut self) {
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
    pub(super) async fn outcome(mut self, is_over: bool) -> Outcome {
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
