//! `iotstream check`: the one phase that fails is the one that is named, with what to do, and the others are told from it.

use std::io::Write;
use std::process::Command;

use crate::support::{Bench, DEVICE, Hub, LIMIT, Stdin, agent, run, serve};

/// Checks and returns the exit status with `what status` of each finding.
fn findings(bench: &Bench, hub: &Hub, args: &[&str]) -> (i32, Vec<String>) {
    let mut check: Command = bench.iotstream();
    check.args(["check", "--json", "--connect-timeout", "1s", "--response-timeout", "2s", "--config"]);
    check.arg(hub.dir.join("profiles.toml")).args(args);
    let done = run(&mut check, Stdin::Ends(b""), LIMIT);
    let found: serde_json::Value = serde_json::from_str(done.text()).expect("JSON on stdout");
    let found = found.as_array().expect("an array").iter().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        if text("status") == "fail" {
            assert!(
                !text("hint").is_empty() && !text("detail").is_empty(),
                "a failure says what to do: {finding}"
            );
        }
        format!("{} {}", text("check"), text("status"))
    });
    (done.status.code().expect("it was not killed"), found.collect())
}

fn ssh_server(mut stream: std::net::TcpStream) {
    // Whoever only checks is gone when it has read this.
    let _ = stream.write_all(b"SSH-2.0-test\r\n");
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// The phase that fails, while no other does.
fn failing(found: &[String]) -> &str {
    let mut failing = found.iter().filter_map(|finding| finding.strip_suffix(" fail"));
    let first = failing.next().expect("something fails");
    assert_eq!(failing.next(), None, "one thing fails: {found:?}");
    first
}

#[test]
fn a_way_without_fault_passes_every_phase_up_to_the_banner() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let _agent = agent(&bench, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let (exit, found) = findings(&bench, &hub, &[DEVICE]);
    assert_eq!(exit, 0, "{found:?}");
    let phases =
        ["profile", "credential", "dns", "tcp", "tls", "device", "dns", "tcp", "tls", "gateway", "target"];
    assert_eq!(found, phases.map(|phase| format!("{phase} pass")));
}

#[test]
fn each_injected_fault_is_named_with_its_exit_status() {
    for (fault, args, phase, exit) in [
        ("", &["--profile", "none", DEVICE][..], "profile", 78),
        ("", &["nobody"], "device", 69),
        ("", &["--stream", "none", DEVICE], "device", 69),
        ("", &["--ca-file", "/dev/null", DEVICE], "profile", 78),
        ("status=401", &[DEVICE], "hub", 77),
        ("status=429", &[DEVICE], "hub", 69),
        ("status=500", &[DEVICE], "hub", 75),
        ("hub=garbage", &[DEVICE], "hub", 76),
        ("hub=drop", &[DEVICE], "hub", 75),
        ("clock=+10m", &[DEVICE], "hub", 77),
        ("gateway=401", &[DEVICE], "gateway", 77),
        ("gateway=500", &[DEVICE], "gateway", 75),
        ("gateway=noupgrade", &[DEVICE], "gateway", 76),
    ] {
        let bench = Bench::new();
        let inject: &[&str] = if fault.is_empty() { &[] } else { &["--inject", fault] };
        let hub = Hub::start(&bench, &[&["--device", DEVICE], inject].concat());
        // A device's token is no good either where the hub's clock is off.
        let in_service = !fault.starts_with("clock");
        let _agent = in_service.then(|| agent(&bench, &hub, DEVICE, &[("ssh", serve(ssh_server))]));
        let (status, found) = findings(&bench, &hub, args);
        assert_eq!((failing(&found), status), (phase, exit), "{fault} {args:?}: {found:?}");
        assert!(
            found.last().is_some_and(|last| !last.ends_with(" pass")),
            "what follows is skipped: {found:?}"
        );
    }
}

#[test]
fn a_target_that_is_no_ssh_server_is_told_from_the_way_to_it() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let web = |mut stream: std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    };
    let _agent = agent(&bench, &hub, DEVICE, &[("ssh", serve(web))]);
    let (exit, found) = findings(&bench, &hub, &[DEVICE]);
    assert_eq!((failing(&found), exit), ("target", 76), "{found:?}");
}

#[test]
fn people_get_a_line_for_each_phase_and_a_hint() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let mut check = bench.iotstream();
    check
        .args(["check", "--connect-timeout", "1s", "--config"])
        .arg(hub.dir.join("profiles.toml"))
        .arg(DEVICE);
    let done = run(&mut check, Stdin::Ends(b""), LIMIT);
    assert_eq!(done.status.code(), Some(69), "{}", done.text());
    assert!(done.text().contains("fail  device"), "{}", done.text());
    assert!(done.text().contains("      hint: is `iotstream agent` running there?"), "{}", done.text());
    assert!(done.text().contains("skip  gateway"), "{}", done.text());
}
