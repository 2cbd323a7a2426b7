//! `iotstream devices`, and the cache of device ids that it fills.

use std::fs;
use std::process::Command;

use crate::support::{Hub, LIMIT, Sandbox, Stdin, agent, finish, mode, run};

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
