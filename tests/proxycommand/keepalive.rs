//! `--keepalive`: a stream whose other side is silent ends after two intervals.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent, agent_with_config, echo_device, random, run, serve,
    sha256, timed,
};

/// A helper with an echo stream, and its log.
struct Echo {
    helper: Process,
    log: PathBuf,
    hub: Hub,
    _agent: Process,
    _sandbox: Sandbox,
}

impl Echo {
    fn start(keepalive: &str) -> Self {
        let (agent, hub, sandbox) = echo_device("echo");
        let log = sandbox.path("helper.log");
        let mut helper = hub.helper(&sandbox);
        helper.args(["--keepalive", keepalive, "--stream", "echo", "--log-file"]).arg(&log).arg(DEVICE);
        let helper = Process::start("helper", &mut helper);
        let mut echo = Self { helper, log, hub, _agent: agent, _sandbox: sandbox };
        echo.answers("one");
        echo
    }

    #[track_caller]
    fn answers(&mut self, text: &str) {
        self.helper.say(&format!("{text}\n"));
        self.helper.says(text, 1, LIMIT);
    }
}

#[test]
fn a_dead_stream_ends_after_two_keepalive_intervals() {
    let _quiet = timed();
    let mut echo = Echo::start("1s");
    echo.hub.process.signal(Signal::STOP);
    let begin = Instant::now();
    let status = echo.helper.ends(LIMIT);
    let took = begin.elapsed();
    echo.hub.process.signal(Signal::CONT);
    assert_eq!(status.code(), Some(75));
    assert!((1.5..3.5).contains(&took.as_secs_f64()), "{took:?}");
    let log = std::fs::read_to_string(&echo.log).unwrap();
    assert!(log.contains("error: the stream is dead"), "{log}");
    assert!(
        echo.helper.stderr().starts_with("iotstream: error: the stream is dead"),
        "{}",
        echo.helper.stderr()
    );
}

/// Longer than the keepalives in these tests allow a peer to be silent.
const NAP: Duration = Duration::from_secs(5);
const LARGE: usize = 30_000_000;

#[test]
fn a_target_that_stops_reading_for_a_while_is_not_dead() {
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let (tell, told) = mpsc::channel();
    let port = serve(move |mut stream| {
        thread::sleep(NAP);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let _ = tell.send(sha256(&all));
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("slow", port)]);
    let sent = random(LARGE);
    let mut helper = hub.helper(&sandbox);
    helper.args(["--keepalive", "1s", "--stream", "slow", DEVICE]);
    let done = run(&mut helper, Stdin::Ends(&sent), 3 * LIMIT).succeeded();
    assert_eq!(done.stderr, "");
    assert_eq!(told.recv_timeout(LIMIT), Ok(sha256(&sent)));
}

#[test]
fn a_user_who_stops_reading_for_a_while_is_not_dead() {
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let sent = random(LARGE);
    let expected = sha256(&sent);
    let port = serve(move |mut stream| {
        let _ = stream.write_all(&sent);
    });
    let config =
        format!("stream-keepalive = \"1s\"\n[[target]]\nstream = \"much\"\nconnect = \"127.0.0.1:{port}\"\n");
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let mut helper = hub.helper(&sandbox);
    helper.args(["--keepalive", "1s", "--stream", "much", DEVICE]);
    let mut child = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(NAP);
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(sha256(&all), expected);
}

#[test]
fn keepalive_0_never_ends_a_stream() {
    let mut echo = Echo::start("0");
    echo.hub.process.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    echo.hub.process.signal(Signal::CONT);
    echo.answers("two");
}

#[test]
fn an_idle_stream_stays_open() {
    let mut echo = Echo::start("1s");
    thread::sleep(Duration::from_secs(4));
    echo.answers("two");
    echo.helper.close_stdin();
    assert_eq!(echo.helper.ends(LIMIT).code(), Some(0));
}
