//! `iotstream devices`, and the cache of device ids that it fills.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{HOST_KEY, Hub, LIMIT, Sandbox, Stdin, agent, finish, mode, report, run};

const UNAVAILABLE: i32 = 69;

/// `iotstream devices` with the hub's profile.
fn devices(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> Command {
    let mut command = sandbox.iotstream();
    command.arg("devices").arg("--config").arg(hub.dir.join("profiles.toml")).args(args);
    command
}

#[test]
fn devices_are_listed_and_filtered() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "gw-01", "GW-02", "press"]);
    let _agent = agent(&sandbox, &hub, "GW-02", &[]);
    let table = finish(&mut devices(&sandbox, &hub, &[])).succeeded();
    let lines: Vec<&str> = table.text().lines().collect();
    assert_eq!(lines[0], "DEVICE  STATE     LAST ACTIVITY");
    assert!(lines[1].starts_with("GW-02   online    2"), "{}", table.text());
    assert_eq!(&lines[2..], ["gw-01   offline   never", "press   offline   never"]);
    let ids = |args: &[&str]| {
        let done = finish(&mut devices(&sandbox, &hub, &[&["--json"], args].concat())).succeeded();
        let all: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let ids = all.as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&["gw-*"]), ["GW-02", "gw-01"]);
    assert_eq!(ids(&["--state", "offline"]), ["gw-01", "press"]);
    assert_eq!(ids(&["gw-*", "--state", "online"]), ["GW-02"]);
    assert!(ids(&["nothing"]).is_empty());
}

#[test]
fn json_has_what_agents_report() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "gw-01", "gw-02", "gw-03", "gw-02/iotstream", "gw-03/it's"]);
    let reported = |agent: &str| {
        json!({ "iotstream": { "agent": agent, "streams": {
        "s0": { "name": "ssh", "keys": { "k0": HOST_KEY, "k1": "ssh-rsa x" } }, "s1": { "name": "tcp-80" },
    } } })
    };
    report(&hub, "gw-01", &reported("0.2.0"));
    report(&hub, "gw-02", &json!({ "firmware": [1] }));
    report(&hub, "gw-02/iotstream", &reported("0.2.1"));
    report(&hub, "gw-03/it's", &reported("0.2.2"));
    let list = || -> Value {
        let done = finish(&mut devices(&sandbox, &hub, &["--json"])).succeeded();
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let agents = |list: &Value| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|device| device["agent"].clone()).collect()
    };
    let listed = list();
    let fingerprint = "SHA256:v2iPDXLLzTrZbJSaxWzqK8ZfE75Gl/uEX7Igh8WeXeY";
    let streams = json!([{ "name": "ssh", "keys": [fingerprint] }, { "name": "tcp-80", "keys": [] }]);
    assert_eq!((&listed[0]["agent"], &listed[0]["streams"]), (&json!("0.2.0"), &streams));
    assert_eq!(listed[1].as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "lastActivity", "state"]);
    // The agents of the profile's module.
    let profiles = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    for (module, expected) in [("iotstream", ["0.2.0", "0.2.1", ""]), ("it's", ["0.2.0", "", "0.2.2"])] {
        fs::write(&profiles, text.replace("hosts = [", &format!("module = \"{module}\"\nhosts = [")))
            .unwrap();
        let expected = expected.map(|agent| if agent.is_empty() { Value::Null } else { agent.into() });
        assert_eq!(agents(&list()), expected, "{module}");
    }
    let table = finish(&mut devices(&sandbox, &hub, &[])).succeeded();
    assert!(!table.text().contains("0.2"), "{}", table.text());
}

#[test]
fn lower_cased_names_match_once_the_devices_are_cached() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", "GW-02"]);
    let helper = |code: &str| {
        let mut helper = hub.helper(&sandbox);
        let done =
            run(helper.args(["gw-02.emulator", "--connect-timeout", "1"]), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!(done.status.code(), Some(UNAVAILABLE), "{}", done.stderr);
        assert!(done.stderr.contains(code), "{}", done.stderr);
    };
    helper("device gw-02 is not registered");
    finish(&mut devices(&sandbox, &hub, &[])).succeeded();
    helper("device GW-02 is not connected");
    let state = sandbox.path(".local/state/iotstream");
    let cache = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let cache = cache.into_iter().find(|path| path.to_string_lossy().contains("devices-emulator-")).unwrap();
    assert_eq!((mode(&cache), mode(&state)), (0o600, 0o700));
    assert_eq!(fs::read_to_string(cache).unwrap(), "GW-02\n");
}

#[test]
fn all_of_ten_thousand_devices_are_listed() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = (0..10_000).map(|number| format!("d{number:05}")).collect();
    let args: Vec<&str> = ["--device"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let hub = Hub::start(&sandbox, &args);
    let done = finish(&mut devices(&sandbox, &hub, &["--json"])).succeeded();
    let all: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let seen: Vec<&str> =
        all.as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap()).collect();
    assert_eq!(seen, ids);
}

#[test]
fn a_refusal_to_list_devices_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &[]);
    let profiles = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&profiles).unwrap();
    // The policy `device` has another key.
    fs::write(&profiles, text.replace("SharedAccessKeyName=service", "SharedAccessKeyName=device")).unwrap();
    let done = finish(&mut devices(&sandbox, &hub, &[]));
    assert_eq!(done.status.code(), Some(77), "{}", done.stderr);
    assert!(done.stderr.contains("does not list its devices: 401"), "{}", done.stderr);
    assert!(hub.keys().iter().all(|key| !done.stderr.contains(key)), "{}", done.stderr);
}
