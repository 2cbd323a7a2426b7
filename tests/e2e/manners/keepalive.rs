//! A stream whose other side has gone silent is given up, as soon as the user wishes.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Bench, DEVICE, Hub, LIMIT, Process, echo_device, heavy};

/// A helper that has an echo at the other end, and the log it writes to.
struct Echo {
    helper: Process,
    log: PathBuf,
    hub: Hub,
    _agent: Process,
    _bench: Bench,
}

impl Echo {
    fn start(keepalive: &str) -> Self {
        let (agent, hub, bench) = echo_device("echo");
        let log = bench.path("helper.log");
        let mut helper = hub.helper(&bench);
        helper.args(["--keepalive", keepalive, "--stream", "echo", "--log-file"]).arg(&log).arg(DEVICE);
        let helper = Process::start(&bench, "helper", &mut helper);
        let mut echo = Self { helper, log, hub, _agent: agent, _bench: bench };
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
fn a_dead_stream_is_given_up_in_under_two_intervals() {
    let _turn = heavy();
    let mut echo = Echo::start("1s");
    echo.hub.process.signal(Signal::STOP);
    let begin = Instant::now();
    let status = echo.helper.ends(LIMIT);
    let took = begin.elapsed();
    echo.hub.process.signal(Signal::CONT);
    assert_eq!(status.code(), Some(75));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let log = std::fs::read_to_string(&echo.log).unwrap();
    assert!(log.contains("error: the stream is dead"), "{log}");
    assert!(
        echo.helper.stderr().starts_with("iotstream: error: the stream is dead"),
        "{}",
        echo.helper.stderr()
    );
}

#[test]
fn a_dead_stream_is_never_given_up_on_request() {
    let mut echo = Echo::start("0");
    echo.hub.process.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    echo.hub.process.signal(Signal::CONT);
    echo.answers("two");
}

#[test]
fn an_idle_stream_is_kept() {
    let mut echo = Echo::start("1s");
    thread::sleep(Duration::from_secs(4));
    echo.answers("two");
    echo.helper.close_stdin();
    assert_eq!(echo.helper.ends(LIMIT).code(), Some(0));
}
