//! Where the time and the bytes went, and what went wrong, for whoever asks.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::process::Signal;

use crate::support::{Bench, DEVICE, Hub, LIMIT, Process, Stdin, agent, echo_device, eventually, run, serve};

/// The phases of a stream through a hub that is its own gateway.
const PHASES: [&str; 8] = ["dns", "tcp", "tls", "device", "dns", "tcp", "tls", "gateway"];

#[test]
fn stats_are_one_line_at_the_end() {
    let (_agent, hub, bench) = echo_device("ssh");
    let done = run(hub.helper(&bench).args(["--stats", DEVICE]), Stdin::Ends(b"seven b"), LIMIT).succeeded();
    assert_eq!(done.text(), "seven b");
    let line = done.stderr.strip_prefix("iotstream: stats: ").unwrap().strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    let (seconds, rest) = line.split_once(" s, 7 bytes sent, 7 bytes received, phases in ms: ").unwrap();
    assert!(seconds.parse::<f64>().is_ok(), "{line}");
    let phases: Vec<(&str, f64)> = rest
        .split(", ")
        .map(|phase| phase.split_once(' ').unwrap())
        .map(|(name, ms)| (name, ms.parse().unwrap()))
        .collect();
    assert!(phases.iter().map(|(name, _)| *name).eq(PHASES), "{line}");
}

#[test]
fn each_phase_is_one_line_on_request() {
    let (_agent, hub, bench) = echo_device("ssh");
    let done = run(hub.helper(&bench).args(["-v", DEVICE]), Stdin::Ends(b""), LIMIT).succeeded();
    let lines = done.stderr.lines().map(|line| line.strip_prefix("iotstream: ").unwrap());
    let timed = lines.filter(|line| line.ends_with(" ms") && !line.starts_with("the stream"));
    let names = timed.map(|line| line.split_once(" localhost:").unwrap().0);
    assert!(names.eq(PHASES), "{}", done.stderr);
}

#[test]
fn live_numbers_are_logged_on_sigusr1() {
    let (_agent, hub, bench) = echo_device("ssh");
    let log = bench.path("helper.log");
    let mut helper = hub.helper(&bench);
    let mut helper = Process::start(&bench, "helper", helper.arg("--log-file").arg(&log).arg(DEVICE));
    helper.say("four\n");
    helper.says("four", 1, LIMIT);
    helper.signal(Signal::USR1);
    eventually(LIMIT, || {
        let said = fs::read_to_string(&log).unwrap();
        let line = said.lines().find(|line| line.contains(" stats: "));
        line.filter(|line| line.contains("5 bytes sent, 5 bytes received")).map(|_| ()).ok_or(said)
    });
    // It lives on.
    helper.say("more\n");
    helper.says("more", 1, LIMIT);
}

#[test]
fn the_last_failure_is_on_record_for_nobody_else_to_read() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let last = || run(bench.iotstream().arg("last"), Stdin::Ends(b""), LIMIT);
    assert_eq!(last().status.code(), Some(1), "nothing has failed yet");

    let failed = run(
        hub.helper(&bench).args(["--connect-timeout", "1s", DEVICE]),
        Stdin::Stays(b"SSH-2.0-x\r\n"),
        LIMIT,
    );
    assert_eq!(failed.status.code(), Some(69));
    let record = last().succeeded();
    let error = failed.stderr.lines().next().unwrap().strip_prefix("iotstream: ").unwrap();
    for expected in [error, "host: dev-1", "hint: ", "exit status: 69", "tls: localhost:", "time: "] {
        assert!(record.text().contains(expected), "'{expected}' is not in {}", record.text());
    }
    for secret in hub.keys().iter().map(String::as_str).chain(["sig=", "SharedAccess", "eyJ"]) {
        assert!(!record.text().contains(secret), "{secret} is in {}", record.text());
    }
    let state = bench.path(".local/state/iotstream");
    for entry in fs::read_dir(&state).unwrap() {
        let metadata = entry.unwrap().metadata().unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_stream_that_breaks_is_on_record_and_in_the_log_file() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE, "--inject", "cut=100"]);
    let port = serve(|mut stream| {
        // The cut may come before all is written.
        let _ = io::copy(&mut io::repeat(b'x'), &mut stream);
    });
    let _agent = agent(&bench, &hub, DEVICE, &[("ssh", port)]);
    let log = bench.path("helper.log");
    let done = run(
        hub.helper(&bench).arg("--log-file").arg(&log).arg(DEVICE),
        Stdin::Stays(b"SSH-2.0-x\r\n"),
        LIMIT,
    );
    assert_eq!(done.status.code(), Some(75));
    let last = run(bench.iotstream().arg("last"), Stdin::Ends(b""), LIMIT).succeeded();
    for text in [&done.stderr, last.text(), &fs::read_to_string(&log).unwrap()] {
        assert!(text.contains("error: the stream was cut"), "{text}");
    }
}
