//! The supervisor with a backend in memory. The test is the service.

mod orders;

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::agent::{Address, Builtin, Target};
use crate::backend::{self, Joined, Offers, Pending, Reply, Report, Reread, Source};
use crate::check::Finding;
use crate::net::{Proxies, Tls};

/// A listener that passes its task's end to the test. Each `BACKEND` is a different backend.
#[derive(Debug)]
struct Memory<const BACKEND: u8>(mpsc::UnboundedSender<Source>);

impl<const BACKEND: u8> Listener for Memory<BACKEND> {
    fn device(&self) -> String {
        "dev-1".into()
    }

    fn service(&self) -> String {
        format!("memory-{BACKEND}")
    }

    fn listen(self: Arc<Self>, _: Network, _: Option<Reread>) -> Result<Offers> {
        let (offers, source) = Offers::channel();
        self.0.send(source).unwrap();
        Ok(offers)
    }

    fn check<'a>(&'a self, _: &'a Network) -> Pending<'a, Vec<Finding>> {
        unreachable!("no test checks it")
    }
}

/// A reply that passes the gateway's end of an accepted stream, or the rejection, to the test.
#[derive(Debug)]
struct Answer(oneshot::Sender<std::result::Result<DuplexStream, Rejection>>);

impl Reply for Answer {
    fn accept(self: Box<Self>) -> Pending<'static, Result<Joined>> {
        let (io, gateway) = tokio::io::duplex(4096);
        self.0.send(Ok(gateway)).unwrap();
        Box::pin(async {
            Ok(Joined { io: Box::new(io), early: bytes::Bytes::new(), going_away_is_end: false })
        })
    }

    fn reject(self: Box<Self>, rejection: &Rejection) {
        self.0.send(Err(rejection.clone())).unwrap();
    }

    fn withdrawn(&self) -> Pending<'_, ()> {
        Box::pin(std::future::pending())
    }
}

fn network() -> Network {
    Network::new(Tls::new(None).unwrap(), Proxies::none())
}

fn config<const BACKEND: u8>(told: &mpsc::UnboundedSender<Source>, audit_log: Option<&Path>) -> Config {
    let target = |stream, builtin| Target::new(stream, Address::Builtin(builtin));
    let targets = vec![target("echo", Builtin::Echo), target("bug", Builtin::Bug)];
    let listener = Arc::new(Memory::<BACKEND>(told.clone()));
    Config { audit_log: audit_log.map(Into::into), ..Config::with(vec![listener], targets) }
}

/// A running agent, and the task's ends of its listeners.
struct Served {
    told: mpsc::UnboundedSender<Source>,
    sources: mpsc::UnboundedReceiver<Source>,
    orders: mpsc::Sender<Order>,
    agent: JoinHandle<Result<()>>,
}

impl Served {
    fn start(audit_log: Option<&Path>) -> Self {
        let (told, sources) = mpsc::unbounded_channel();
        let (orders, taken) = mpsc::channel(1);
        let agent = tokio::spawn(serve(config::<0>(&told, audit_log), network(), None, taken));
        Self { told, sources, orders, agent }
    }
}

/// Offers a stream. Returns the gateway's end, the rejection, or `None` without a reply.
async fn offer(source: &Source, stream: &str) -> Option<std::result::Result<DuplexStream, Rejection>> {
    let (answer, answered) = oneshot::channel();
    let reply = Box::new(Answer(answer));
    let offer = Offer { stream: stream.into(), id: None, requester: None, is_approved: false, reply };
    source.events.send(Event::Offer(offer)).await.unwrap();
    answered.await.ok()
}

/// Sends a byte and expects its echo, which is masked.
async fn echo(gateway: &mut DuplexStream) {
    gateway.write_all(b"\x82\x01x").await.unwrap();
    let mut back = [0; 7];
    gateway.read_exact(&mut back).await.unwrap();
    assert_eq!((&back[..2], back[6] ^ back[2]), (&b"\x82\x81"[..], b'x'));
}

#[tokio::test]
async fn a_bug_in_one_stream_ends_that_stream_only() {
    let mut served = Served::start(None);
    let source = served.sources.recv().await.unwrap();
    let mut before = offer(&source, "echo").await.unwrap().unwrap();
    echo(&mut before).await;
    assert!(offer(&source, "bug").await.is_none(), "nobody answers any more");
    echo(&mut before).await;
    echo(&mut offer(&source, "echo").await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn rejections_have_a_cause_and_are_logged() {
    let directory = tempfile::tempdir().unwrap();
    let audit = directory.path().join("audit.log");
    let mut served = Served::start(Some(&audit));
    let source = served.sources.recv().await.unwrap();
    let rejection = offer(&source, "none").await.unwrap().unwrap_err();
    assert_eq!(rejection, Rejection::new(Cause::Target, "no target named none"));
    let unusable = Event::Unusable { stream: "ssh".into(), problem: "it has no URL".into() };
    source.events.send(unusable).await.unwrap();
    // Events are handled in order.
    offer(&source, "none").await.unwrap().unwrap_err();
    let logged = std::fs::read_to_string(&audit).unwrap();
    let reasons: Vec<_> = logged.lines().filter(|line| line.contains("\"rejected\"")).collect();
    assert_eq!(reasons.len(), 3, "{logged}");
    assert!(reasons[1].contains("it has no URL") && reasons[1].contains("\"ssh\""), "{logged}");
}

#[tokio::test]
async fn a_reload_reaches_the_listener_and_may_change_the_backend() {
    let mut served = Served::start(None);
    let mut first = served.sources.recv().await.unwrap();
    let mut live = offer(&first, "echo").await.unwrap().unwrap();
    let reload = |config| Order::Reload(Ok(Box::new((config, network()))));
    served.orders.send(reload(config::<0>(&served.told, None))).await.unwrap();
    assert!(matches!(first.orders.next().await, backend::Order::Reload(..)));
    served.orders.send(reload(config::<1>(&served.told, None))).await.unwrap();
    let second = served.sources.recv().await.unwrap();
    assert!(matches!(first.orders.next().await, backend::Order::Stop));
    echo(&mut live).await;
    echo(&mut offer(&second, "echo").await.unwrap().unwrap()).await;
}

#[tokio::test]
async fn each_service_is_told_the_streams() {
    let mut served = Served::start(None);
    let mut first = served.sources.recv().await.unwrap();
    let names = |report: Arc<crate::backend::Report>| -> Vec<_> {
        report.streams.iter().map(|stream| stream.name.clone()).collect()
    };
    assert_eq!(names(first.reports.next().await), ["echo", "bug"]);
    let reload = |targets| {
        let (first, second) = (Memory::<0>(served.told.clone()), Memory::<1>(served.told.clone()));
        let listeners: Vec<Arc<dyn Listener>> = vec![Arc::new(first), Arc::new(second)];
        Order::Reload(Ok(Box::new((Config::with(listeners, targets), network()))))
    };
    let target = |stream| Target::new(stream, Address::Builtin(Builtin::Echo));
    served.orders.send(reload(vec![target("b"), target("a*")])).await.unwrap();
    let mut second = served.sources.recv().await.unwrap();
    assert_eq!(names(first.reports.next().await), ["b", "a*"]);
    // The one that has just started may have been told of the former streams first.
    while names(second.reports.next().await) != ["b", "a*"] {}
}

#[tokio::test]
async fn a_service_that_a_reload_starts_is_told_the_report_once_there_is_one() {
    let (told, mut sources) = mpsc::unbounded_channel();
    let listeners: [Arc<dyn Listener>; 3] = [
        Arc::new(Memory::<0>(told.clone())),
        Arc::new(Memory::<1>(told.clone())),
        Arc::new(Memory::<2>(told)),
    ];
    let mut services = Services::start(&listeners[..1], &network(), None).unwrap();
    services.reload(&listeners[..2], &network(), None).unwrap();
    let (mut first, mut second) = (sources.recv().await.unwrap(), sources.recv().await.unwrap());
    // An empty report would remove what the service knows.
    assert!(timeout(Duration::ZERO, second.reports.next()).await.is_err());
    let report = Arc::new(Report { streams: Vec::new() });
    services.report(report.clone());
    services.reload(&listeners, &network(), None).unwrap();
    let mut third = sources.recv().await.unwrap();
    for source in [&mut first, &mut second, &mut third] {
        let reported = timeout(Duration::from_secs(1), source.reports.next()).await;
        assert!(Arc::ptr_eq(&reported.unwrap(), &report));
    }
}

#[tokio::test]
async fn a_stop_waits_for_the_listener() {
    let mut served = Served::start(None);
    let mut source = served.sources.recv().await.unwrap();
    served.orders.send(Order::Stop).await.unwrap();
    assert!(matches!(source.orders.next().await, backend::Order::Stop));
    // Offers that arrive until then are answered.
    drop(offer(&source, "echo").await.unwrap().unwrap());
    assert!(!served.agent.is_finished());
    drop(source);
    served.agent.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_listener_that_ends_by_itself_is_a_bug() {
    let mut served = Served::start(None);
    drop(served.sources.recv().await.unwrap());
    assert!(matches!(served.agent.await.unwrap(), Err(Error::Bug(_))));
}
