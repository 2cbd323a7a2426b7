//! Statistics: `--stats`, `-v` and SIGUSR1.

use std::fs;

use rustix::process::Signal;

use crate::support::{DEVICE, LIMIT, Process, Stdin, echo_device, eventually, run};

/// The phases of a stream through a hub that is its own gateway.
const PHASES: [&str; 8] = ["dns", "tcp", "tls", "device", "dns", "tcp", "tls", "gateway"];

#[test]
fn stats_prints_one_line_at_the_end() {
    let (_agent, hub, sandbox) = echo_device("ssh");
    let done =
        run(hub.helper(&sandbox).args(["--stats", DEVICE]), Stdin::Ends(b"seven b"), LIMIT).succeeded();
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
fn verbose_prints_one_line_per_phase() {
    let (_agent, hub, sandbox) = echo_device("ssh");
    let done = run(hub.helper(&sandbox).args(["-v", DEVICE]), Stdin::Ends(b""), LIMIT).succeeded();
    let lines = done.stderr.lines().map(|line| line.strip_prefix("iotstream: ").unwrap());
    let timed = lines.filter(|line| line.ends_with(" ms") && !line.starts_with("the stream"));
    let names = timed.map(|line| line.split_once(" localhost:").unwrap().0);
    assert!(names.eq(PHASES), "{}", done.stderr);
}

#[test]
fn sigusr1_logs_the_current_counts() {
    let (_agent, hub, sandbox) = echo_device("ssh");
    let log = sandbox.path("helper.log");
    let mut helper = hub.helper(&sandbox);
    let mut helper = Process::start("helper", helper.arg("--log-file").arg(&log).arg(DEVICE));
    helper.say("four\n");
    helper.says("four", 1, LIMIT);
    helper.signal(Signal::USR1);
    eventually(LIMIT, || {
        let said = fs::read_to_string(&log).unwrap();
        let line = said.lines().find(|line| line.contains(" stats: "));
        line.filter(|line| line.contains("5 bytes sent, 5 bytes received")).map(|_| ()).ok_or(said)
    });
    // The helper goes on.
    helper.say("more\n");
    helper.says("more", 1, LIMIT);
}
