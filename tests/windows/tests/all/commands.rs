//! The commands beside the ProxyCommand.

use serde_json::Value;

use crate::support::{Background, DEVICE, Finished, Host, Hub, Iotstream, Sandbox, agent, serve};

/// A hub with two devices, of which DEVICE is online, offers the targets for measuring, and greets as an SSH server.
fn device() -> (Background, Hub, Sandbox) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE, "GW-07"]);
    let greets = serve(|mut stream| {
        use std::io::{Read, Write};
        let _ = stream.write_all(b"SSH-2.0-test\r\n");
        let _ = stream.read(&mut [0; 64]);
    });
    let builtins = ["echo", "discard", "source"].map(|name| format!("{name}=builtin:{name}"));
    let targets = [&builtins[..], &[format!("ssh=127.0.0.1:{greets}")]].concat();
    let agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &targets);
    (agent, hub, sandbox)
}

fn json(done: &Finished) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[test]
fn devices_are_listed() {
    let (_agent, hub, sandbox) = device();
    let done = hub.command(&sandbox, "devices", &["--json"]).finish("").succeeded();
    let devices = json(&done);
    let devices = devices.as_array().unwrap().iter().map(|device| (&device["id"], &device["state"]));
    let devices: Vec<_> =
        devices.map(|(id, state)| (id.as_str().unwrap(), state.as_str().unwrap())).collect();
    assert_eq!(devices, [("GW-07", "offline"), (DEVICE, "online")]);
    let table = hub.command(&sandbox, "devices", &["--state", "online"]).finish("").succeeded();
    assert!(table.text().lines().nth(1).unwrap().starts_with("dev-1   online"), "{}", table.text());
}

#[test]
fn devices_that_were_listed_are_found_by_a_lower_cased_name() {
    let (_agent, hub, sandbox) = device();
    hub.command(&sandbox, "devices", &[]).finish("").succeeded();
    let done = hub.helper(&sandbox, &["--connect-timeout", "1s", "gw-07"]).finish("");
    assert_eq!(done.status, 69, "{}", done.stderr);
    assert!(done.stderr.contains("404103") && !done.stderr.contains("404001"), "{}", done.stderr);
}

#[test]
fn a_check_names_the_step_that_fails() {
    let (_agent, hub, sandbox) = device();
    let check = |device: &str| {
        let done = hub.command(&sandbox, "check", &["--json", "--connect-timeout", "1s", device]).finish("");
        let findings = json(&done);
        let failed = findings.as_array().unwrap().iter().filter(|finding| finding["status"] == "fail");
        let failed: Vec<String> =
            failed.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect();
        assert!(findings.as_array().unwrap().len() > 5, "{findings}");
        (done.status, failed)
    };
    assert_eq!(check(DEVICE), (0, vec![]));
    let (status, failed) = check("GW-07");
    assert_eq!((status, failed.len()), (69, 1), "{failed:?}");
}

#[test]
fn ping_times_each_probe() {
    let (_agent, hub, sandbox) = device();
    let done =
        hub.command(&sandbox, "ping", &["--json", "-c", "3", "-i", "10ms", DEVICE]).finish("").succeeded();
    let report = json(&done);
    assert_eq!((&report["sent"], &report["answered"]), (&3.into(), &3.into()));
    assert!(report["milliseconds"]["min"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn bench_transfers_the_stated_size_each_way() {
    let (_agent, hub, sandbox) = device();
    let done = hub.command(&sandbox, "bench", &["--yes", "--size", "2M", DEVICE]).finish("").succeeded();
    for (line, start) in done.text().lines().zip(["up    2 MB in ", "down  2 MB in "]) {
        assert!(line.starts_with(start) && line.contains("bit/s"), "{line}");
    }
    assert_eq!(done.text().lines().count(), 2);
    let refused = hub.command(&sandbox, "bench", &[DEVICE]).finish("");
    assert_eq!(refused.status, 2, "without consent: {}", refused.stderr);
}

#[test]
fn powershell_gets_completions() {
    let sandbox = Sandbox::new();
    let script = Iotstream::new(&sandbox, &["completions", "powershell"]).finish("").succeeded();
    assert!(script.text().contains("Register-ArgumentCompleter"), "{}", script.text());
}

#[test]
fn the_version_and_the_help_are_printed() {
    let sandbox = Sandbox::new();
    let version = Iotstream::new(&sandbox, &["--version"]).finish("").succeeded();
    assert!(version.text().starts_with("iotstream "), "{}", version.text());
    let help = Iotstream::new(&sandbox, &["--help"]).finish("").succeeded();
    assert!(help.text().contains("Usage: iotstream"), "{}", help.text());
}

#[test]
fn a_log_file_is_written() {
    let (_agent, hub, sandbox) = device();
    let log = sandbox.path("a log.txt");
    let log = log.to_str().unwrap();
    let mut helper = hub.helper(&sandbox, &["-q", "--log-file", log, "--stream", "echo", DEVICE]).start();
    drop(helper.stdin.take());
    let done = helper.finish(crate::support::LIMIT).succeeded();
    assert_eq!(done.stderr, "");
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("the stream is up"), "{said}");
}
