use std::fs;
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::agent::{Builtin, Target};
use crate::backend::{Listener, Offers, Reread};
use crate::check::Finding;
use crate::error::Result as Outcome;
use crate::net::Network;
use crate::text::public_key::PublicKey;

#[derive(Debug)]
struct Service {
    keeps_reports: bool,
}

impl Listener for Service {
    fn device(&self) -> String {
        "dev-1".into()
    }

    fn service(&self) -> String {
        "memory".into()
    }

    fn keeps_reports(&self) -> bool {
        self.keeps_reports
    }

    fn listen(self: Arc<Self>, _: Network, _: Option<Reread>) -> Outcome<Offers> {
        unreachable!("the reporter listens to nothing")
    }

    fn check<'a>(&'a self, _: &'a Network) -> Pending<'a, Vec<Finding>> {
        unreachable!("the reporter checks nothing")
    }
}

/// All targets have the same answer, and depend on the same file.
struct Fake {
    answer: Arc<Mutex<Result<Found, String>>>,
    asked: mpsc::UnboundedSender<(Instant, String)>,
    file: std::path::PathBuf,
}

impl Targets for Fake {
    fn ask<'a>(&'a self, address: &'a Address) -> Pending<'a, Result<Found, Problem>> {
        Box::pin(async {
            self.asked.send((Instant::now(), address.to_string())).unwrap();
            self.answer.lock().unwrap().clone().map_err(Problem::from)
        })
    }

    fn files(&self, _: &Address) -> WatchedFiles {
        WatchedFiles::of(&self.file)
    }
}

fn key(content: u8) -> PublicKey {
    PublicKey::of_blob(&[b"\0\0\0\x0bssh-ed25519", &[content][..]].concat()).unwrap()
}

fn found(content: u8) -> Result<Found, String> {
    Ok(Found { keys: vec![key(content)], missing: Vec::new() })
}

fn config(keeps_reports: bool, targets: &[(&str, &str)]) -> Arc<Config> {
    let target = |(stream, address): &(&str, &str)| Target::new(*stream, Address::parse(address).unwrap());
    let mut targets: Vec<_> = targets.iter().map(target).collect();
    targets.push(Target::new("echo", Address::Builtin(Builtin::Echo)));
    Arc::new(Config::with(vec![Arc::new(Service { keeps_reports })], targets))
}

const DAY: Duration = Duration::from_secs(86_400);

const SSH: &[(&str, &str)] = &[("ssh", "127.0.0.1:22"), ("web", "127.0.0.1:80")];

/// A reporter, and the parts that it knows.
struct Reporting {
    answer: Arc<Mutex<Result<Found, String>>>,
    asked: mpsc::UnboundedReceiver<(Instant, String)>,
    configs: watch::Sender<Arc<Config>>,
    reports: watch::Receiver<Arc<Report>>,
    start: Instant,
    directory: TempDir,
    task: JoinHandle<()>,
}

impl Reporting {
    fn start(config: Arc<Config>, answer: Result<Found, String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let (asking, asked) = mpsc::unbounded_channel();
        let file = directory.path().join("key.pub");
        let targets = Fake { answer: answer.clone(), asked: asking, file };
        let (configs, taken) = watch::channel(config);
        let (report, reports) = watch::channel(Arc::default());
        let task = tokio::spawn(Reporter::new(targets, taken, report).run());
        Self { answer, asked, configs, reports, start: Instant::now(), directory, task }
    }

    fn answer(&self, answer: Result<Found, String>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Changes the file that the answers depend on.
    fn change_file(&self, content: &str) {
        fs::write(self.directory.path().join("key.pub"), content).unwrap();
    }

    /// When the next target is asked, in seconds since the start, and which.
    async fn asked(&mut self) -> (u64, String) {
        let (at, address) = self.asked.recv().await.unwrap();
        ((at - self.start).as_secs(), address)
    }

    /// Whether nothing is asked in the next day.
    async fn rests(&mut self) -> bool {
        timeout(DAY, self.asked.recv()).await.is_err()
    }

    /// Waits for a report of these streams.
    #[track_caller]
    fn reports(&mut self, streams: &[(&str, HostKeys)]) -> impl Future<Output = ()> {
        let report = |(name, keys): &(&str, HostKeys)| StreamReport {
            name: (*name).into(),
            ports: None,
            keys: keys.clone(),
        };
        let expected = Report { streams: streams.iter().map(report).collect() };
        let caller = std::panic::Location::caller();
        async move {
            let found = timeout(DAY, self.reports.wait_for(|report| **report == expected)).await.map(drop);
            assert!(found.is_ok(), "{caller}: {:?} instead of {expected:?}", self.reports.borrow());
        }
    }
}

fn known(content: u8) -> HostKeys {
    HostKeys::Known(vec![key(content)])
}

fn none() -> HostKeys {
    HostKeys::Known(Vec::new())
}

/// The streams of [`SSH`] and the builtin.
fn ssh(keys: HostKeys) -> [(&'static str, HostKeys); 3] {
    [("ssh", keys), ("web", none()), ("echo", none())]
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_ssh_alone_are_reported() {
    let mut reporting = Reporting::start(config(true, SSH), found(1));
    reporting.reports(&ssh(known(1))).await;
    assert_eq!(reporting.asked().await, (0, "127.0.0.1:22".into()));
    assert!(reporting.rests().await);
    drop(reporting.configs);
    reporting.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_a_service_that_keeps_no_reports() {
    let mut reporting = Reporting::start(config(false, SSH), found(1));
    assert!(reporting.rests().await);
    reporting.configs.send_replace(config(true, SSH));
    assert_eq!(reporting.asked().await, (86_400, "127.0.0.1:22".into()));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_answer_changes_nothing_and_is_asked_again() {
    let mut reporting = Reporting::start(config(true, SSH), Err("it closed the connection".into()));
    reporting.reports(&ssh(HostKeys::Untold)).await;
    for at in [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835] {
        assert_eq!(reporting.asked().await.0, at);
    }
    assert!(!reporting.reports.has_changed().unwrap());
    reporting.answer(found(1));
    reporting.reports(&ssh(known(1))).await;
    assert_eq!(reporting.asked().await.0, 2435);

    reporting.answer(Err("connection refused".into()));
    reporting.change_file("new");
    let (first, _) = reporting.asked().await;
    assert_eq!(reporting.asked().await.0, first + 5);
    assert!(!reporting.reports.has_changed().unwrap(), "what was known stays");
    reporting.answer(found(2));
    reporting.reports(&ssh(known(2))).await;
    reporting.asked().await;
    assert!(reporting.rests().await);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_asks_again() {
    let mut reporting = Reporting::start(config(true, SSH), found(1));
    reporting.asked().await;
    reporting.change_file("new");
    // The server has not been restarted yet.
    let (at, _) = reporting.asked().await;
    assert!(at <= 60, "{at}");
    reporting.answer(found(2));
    assert_eq!(reporting.asked().await.0, at + 600);
    assert!(reporting.rests().await);

    reporting.answer(found(3));
    reporting.change_file("other");
    reporting.asked().await;
    assert!(reporting.rests().await, "the answer was new");
}

#[tokio::test(start_paused = true)]
async fn a_reload_asks_those_that_are_not_known() {
    let mut reporting = Reporting::start(config(true, SSH), found(1));
    reporting.reports(&ssh(known(1))).await;
    reporting.asked().await;
    // Another name, and a second target.
    reporting.configs.send_replace(config(true, &[("s*", "127.0.0.1:22"), ("tcp-22", "127.0.0.2:22")]));
    reporting.reports(&[("s*", known(1)), ("tcp-22", known(1)), ("echo", none())]).await;
    assert_eq!(reporting.asked().await, (0, "127.0.0.2:22".into()));
    // The server may have other keys by now, but has logged an exchange just before.
    assert_eq!(reporting.asked().await, (600, "127.0.0.1:22".into()));
    assert!(reporting.rests().await);

    // A day later, both are asked, one after the other.
    reporting.configs.send_replace(config(true, &[("s*", "127.0.0.1:22"), ("tcp-22", "127.0.0.2:22")]));
    assert_eq!(reporting.asked().await, (87_000, "127.0.0.1:22".into()));
    assert_eq!(reporting.asked().await, (87_000, "127.0.0.2:22".into()));
    assert!(reporting.rests().await);

    // One that does not answer is asked at once.
    reporting.configs.send_replace(config(true, &[("ssh", "/run/ssh.sock")]));
    reporting.answer(Err("connection refused".into()));
    for _ in 0..3 {
        reporting.asked().await;
    }
    let at = reporting.asked().await.0;
    reporting.configs.send_replace(config(true, &[("ssh", "/run/ssh.sock")]));
    assert_eq!(reporting.asked().await, (at, "/run/ssh.sock".into()));
    assert_eq!(reporting.asked().await.0, at + 5);
}

#[tokio::test(start_paused = true)]
async fn one_target_of_two_streams_is_asked_once() {
    let both = [("ssh", "127.0.0.1:22"), ("tcp-22", "127.0.0.1:22")];
    let mut reporting = Reporting::start(config(true, &both), found(1));
    reporting.reports(&[("ssh", known(1)), ("tcp-22", known(1)), ("echo", none())]).await;
    reporting.asked().await;
    assert!(reporting.rests().await);
}
