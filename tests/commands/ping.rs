//! `iotstream ping`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::measuring::{BUILTINS, command, device, finish, json};
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent, iotstream, run, serve, timed};

#[test]
fn ping_times_each_probe_and_prints_a_summary() {
    let (_agent, hub, sandbox) = device(&[], BUILTINS);
    let done = finish(&sandbox, &hub, "ping", &["-c", "3", "-i", "10ms"]).succeeded();
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "PING {DEVICE} (stream echo) through {}: 56 bytes",
            hub.https.replace("127.0.0.1", "localhost")
        )
    );
    assert!(lines[1].starts_with("set up in ") && lines[1].contains("ms: dns "), "{}", done.text());
    for (seq, line) in (1..).zip(&lines[2..5]) {
        let time = line.strip_prefix(&format!("seq={seq} time=")).and_then(|rest| rest.strip_suffix(" ms"));
        assert!(time.is_some_and(|time| time.parse::<f64>().is_ok_and(|time| time > 0.0)), "{line}");
    }
    assert_eq!(&lines[5..8], ["", "--- dev-1 ping statistics ---", "3 probes sent, 3 answered, 0% lost"]);
    assert!(lines[8].starts_with("round trip min/median/p99/max = "), "{}", done.text());
    assert_eq!((lines.len(), done.stderr.as_str()), (9, ""));
    for size in ["1", "65536"] {
        finish(&sandbox, &hub, "ping", &["-c", "2", "-i", "0", "-s", size]).succeeded();
    }
}

#[test]
fn ping_reports_in_json() {
    let (_agent, hub, sandbox) = device(&["--inject", "latency=30ms"], BUILTINS);
    let done = finish(&sandbox, &hub, "ping", &["--json", "-c", "2", "--interval", "0"]).succeeded();
    let report = json(&done);
    assert_eq!(
        (&report["device"], &report["stream"], &report["size"]),
        (&DEVICE.into(), &"echo".into(), &56.into())
    );
    assert_eq!((&report["sent"], &report["answered"]), (&2.into(), &2.into()));
    for (seq, probe) in (1..).zip(report["probes"].as_array().unwrap()) {
        assert_eq!(probe["seq"], seq);
        assert!(probe["milliseconds"].as_f64().unwrap() >= 60.0, "30 ms there and 30 back: {probe}");
    }
    let times = &report["milliseconds"];
    let times = ["min", "median", "p99", "max"].map(|name| times[name].as_f64().unwrap());
    assert!(times.is_sorted() && times[0] >= 60.0, "{times:?}");
    let phases = report["setup"]["phases"].as_array().unwrap();
    let phases: Vec<&str> = phases.iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["dns", "tcp", "tls", "device", "dns", "tcp", "tls", "gateway"]);
}

#[test]
fn ctrl_c_ends_ping_with_a_summary() {
    let (_agent, hub, sandbox) = device(&[], BUILTINS);
    let mut ping = Process::start("ping", &mut command(&sandbox, &hub, "ping", &["-i", "20ms"]));
    ping.says("seq=2 time=", 1, LIMIT);
    ping.signal(Signal::INT);
    assert_eq!(ping.ends(LIMIT).code(), Some(0), "{}", ping.stderr());
    assert!(ping.stdout().contains("\n--- dev-1 ping statistics ---\n"), "{}", ping.stdout());
    assert_eq!(ping.stderr(), "");
}

#[test]
fn an_unanswered_probe_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let silent = serve(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("echo", silent)]);
    let done = finish(&sandbox, &hub, "ping", &["-c", "2", "-i", "10ms", "-W", "100ms"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.text().contains("seq=1 no answer in 100ms\nseq=2 no answer in 100ms\n"), "{}", done.text());
    assert!(done.text().ends_with("2 probes sent, 0 answered, 100% lost\n"), "{}", done.text());
    let report = json(&finish(&sandbox, &hub, "ping", &["--json", "-c", "1", "-W", "100ms"]));
    assert_eq!((&report["probes"][0]["milliseconds"], &report["milliseconds"]), (&Value::Null, &Value::Null));

    let mut ping = Process::start("ping", &mut command(&sandbox, &hub, "ping", &["-W", "100ms"]));
    ping.says("seq=1 no answer", 1, LIMIT);
    ping.signal(Signal::INT);
    assert_eq!(ping.ends(LIMIT).code(), Some(1), "{}", ping.stderr());
}

#[test]
fn a_missing_builtin_stream_gives_a_hint_with_the_configuration() {
    let (_agent, hub, sandbox) = device(&[], &["ssh=127.0.0.1:22", "wrong=builtin:discard"]);
    for (name, args, builtin) in [
        ("ping", &[][..], "echo"),
        ("bench", &["--yes"], "discard"),
        ("bench", &["--yes", "-d", "down"], "source"),
    ] {
        let done = finish(&sandbox, &hub, name, args);
        assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
        let hint = format!("hint: add a [[target]] with stream = \"{builtin}\" and builtin = \"{builtin}\"");
        assert!(done.stderr.contains(&hint), "{}", done.stderr);
    }
    let done = finish(&sandbox, &hub, "ping", &["--stream", "wrong"]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("stream 'wrong': it sends what it was not sent"), "{}", done.stderr);
}

#[test]
fn a_cut_stream_ends_ping_with_a_summary_and_the_reason() {
    let (mut agent, hub, sandbox) = device(&[], BUILTINS);
    let mut ping = Process::start("ping", &mut command(&sandbox, &hub, "ping", &["-i", "20ms"]));
    ping.says("seq=2 time=", 1, LIMIT);
    agent.kill();
    assert_eq!(ping.ends(LIMIT).code(), Some(75), "{}", ping.stderr());
    assert!(ping.stdout().contains("ping statistics"), "{}", ping.stdout());
    assert!(ping.stderr().starts_with("iotstream: error: the stream was cut"), "{}", ping.stderr());
}

#[test]
fn ping_ends_when_its_stdout_is_closed() {
    let (_agent, hub, sandbox) = device(&[], BUILTINS);
    let mut shell = sandbox.command("sh");
    shell.args(["-c", "\"$0\" ping --config \"$1\" -i 10ms dev-1 | head -n 3"]);
    shell.arg(iotstream()).arg(hub.dir.join("profiles.toml"));
    let done = run(&mut shell, Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!((done.text().lines().count(), done.stderr.as_str()), (3, ""));
}

#[test]
fn ping_and_bench_exit_promptly_after_their_last_line() {
    let (_agent, hub, sandbox) = device(&[], BUILTINS);
    let _quiet = timed();
    for (name, args, last) in [
        ("ping", &["-c", "1"][..], "round trip"),
        ("bench", &["-yq", "-s", "100K", "-d", "up"], "up "),
        ("bench", &["-yq", "-s", "100K", "-d", "down"], "down "),
    ] {
        let mut process = Process::start(name, &mut command(&sandbox, &hub, name, args));
        process.says(last, 1, LIMIT);
        process.ends(Duration::from_secs(5));
    }
}
