//! `iotstream check`: which identity it used, and whether another client logs in with it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::check::{OTHER, ssh_server};
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent, eventually, need, run, serve};

/// Runs the check, and returns the findings.
fn check(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> Vec<Value> {
    let mut check = sandbox.iotstream();
    check.args(["check", "--json", "--connect-timeout", "1s", "--config"]);
    let done = run(check.arg(hub.dir.join("profiles.toml")).args(args), Stdin::Ends(b""), LIMIT);
    serde_json::from_str(done.text()).expect("JSON on stdout")
}

fn finding<'a>(found: &'a [Value], name: &str) -> Option<&'a Value> {
    found.iter().find(|finding| finding["check"] == name && finding["status"] != "skip")
}

fn detail<'a>(found: &'a [Value], name: &str) -> &'a str {
    let finding = finding(found, name).unwrap_or_else(|| panic!("no {name}: {found:?}"));
    finding["detail"].as_str().unwrap()
}

/// A program that logs in as `device` every `seconds`, and subscribes to nothing.
fn logs_in(sandbox: &Sandbox, hub: &Hub, device: &str, seconds: &str) -> Process {
    let mut python = sandbox.command(need("python3"));
    python.args(["-c", OTHER]).arg(&hub.dir).args(["logins", &hub.mqtts, device, seconds]);
    let mut other = Process::start("other", &mut python);
    other.says("done 0", 1, LIMIT);
    other
}

#[test]
fn another_client_that_logs_in_again_and_again_is_noticed() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "gw-07/iotstream"]);
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let _other = logs_in(&sandbox, &hub, DEVICE, "1.2");
    let module = sandbox.path("hub/devices/gw-07%2Fiotstream.conn");
    assert!(module.exists());
    let found = check(&sandbox, &hub, &[DEVICE]);
    let told = detail(&found, "identity");
    let times = told.strip_prefix("another client logs in as dev-1: it logged in ").expect(told);
    let (times, time) = times.split_once(" times in ").expect(told);
    assert!(times.parse::<u32>().is_ok_and(|times| (2..10).contains(&times)), "{told}");
    assert!(time.strip_suffix(" s").is_some_and(|time| time.parse::<u32>().is_ok()), "{told}");
    let finding = finding(&found, "identity").unwrap();
    assert_eq!(finding["status"], "warn");
    let hint = finding["hint"].as_str().unwrap();
    assert!(
        hint.starts_with(
            "give the agent a module of its own: `az iot hub module-identity create -n HUB -d 'dev-1'"
        ),
        "{hint}"
    );
    // A module is told from its device.
    let _other = logs_in(&sandbox, &hub, "gw-07/iotstream", "1.2");
    let found = check(&sandbox, &hub, &["--module", "iotstream", "gw-07"]);
    assert!(
        detail(&found, "identity").starts_with("another client logs in as gw-07/iotstream: "),
        "{found:?}"
    );
    let found = check(&sandbox, &hub, &["gw-07"]);
    assert!(super::check_identity::finding(&found, "identity").is_none(), "{found:?}");
}

#[test]
fn a_client_whose_connections_are_short_is_noticed() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    // It logs out each time.
    let _other = logs_in(&sandbox, &hub, DEVICE, "-1.4");
    let found = check(&sandbox, &hub, &[DEVICE]);
    assert!(detail(&found, "identity").starts_with("another client logs in as dev-1: "), "{found:?}");
}

#[test]
fn a_device_without_another_client_is_not_suspected_and_soon_not_watched() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "gw-07"]);
    let agent = agent(&sandbox, &hub, DEVICE, &[("ssh", serve(ssh_server))]);
    let online = Instant::now();
    let found = check(&sandbox, &hub, &[DEVICE]);
    assert!(finding(&found, "identity").is_none() && finding(&found, "target").is_some(), "{found:?}");
    // By now, another client would have been back.
    eventually(LIMIT, || {
        let left = Duration::from_secs(13).checked_sub(online.elapsed());
        left.map_or(Ok(()), |left| Err(format!("{left:?} left")))
    });
    let begin = Instant::now();
    check(&sandbox, &hub, &[DEVICE]);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // A device that never was online is not watched either.
    let begin = Instant::now();
    let found = check(&sandbox, &hub, &["gw-07"]);
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_eq!(finding(&found, "device").unwrap()["status"], "fail");
    drop(agent);
}

#[test]
fn the_identity_of_a_default_module_is_named() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "gw-07/iotstream", "offline"]);
    let profiles = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    fs::write(&profiles, text.replace("hosts = [", "module = \"iotstream\"\nhosts = [")).unwrap();
    let targets = [("ssh", serve(ssh_server))];
    let _agent = agent(&sandbox, &hub, DEVICE, &targets);
    let _module = agent(&sandbox, &hub, "gw-07%2Fiotstream", &targets);
    let found = check(&sandbox, &hub, &[DEVICE]);
    assert_eq!(
        detail(&found, "profile"),
        format!("module dev-1/iotstream, else device dev-1, at {}, stream 'ssh'", hub.name())
    );
    assert_eq!(
        detail(&found, "device"),
        "device dev-1, which has no module 'iotstream', accepted the stream 'ssh'; it is registered, enabled and online"
    );
    assert_eq!(detail(&found, "target"), "SSH-2.0-test");
    // Helpers know it now.
    let memory = fs::read_to_string(sandbox.path(".local/state/iotstream/without-module")).unwrap();
    assert!(memory.ends_with(" dev-1/iotstream\n"), "{memory}");

    let found = check(&sandbox, &hub, &["gw-07"]);
    let accepted = "module gw-07/iotstream accepted the stream 'ssh'; it is registered, enabled and online";
    assert_eq!(detail(&found, "device"), accepted);
    // It asks the module first, whatever helpers know, and corrects them.
    let wrong = memory.replace("dev-1", "gw-07");
    fs::write(sandbox.path(".local/state/iotstream/without-module"), &wrong).unwrap();
    let found = check(&sandbox, &hub, &["gw-07"]);
    assert_eq!(detail(&found, "device"), accepted);
    assert_eq!(fs::read_to_string(sandbox.path(".local/state/iotstream/without-module")).unwrap(), "");

    let found = check(&sandbox, &hub, &["offline"]);
    let told = detail(&found, "device");
    assert!(told.starts_with("device offline is not connected to"), "{told}");
    assert!(told.ends_with("never active; module offline/iotstream is not registered"), "{told}");
}
