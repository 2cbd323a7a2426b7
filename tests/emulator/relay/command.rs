//! What the options of the relay write and print.

use std::fs;

use crate::support::relay_client::RelayClient;
use crate::support::sas::field;
use crate::support::{Hub, LIMIT, Process, Sandbox, mode};

#[test]
fn a_relay_writes_its_connection_strings_and_a_profile() {
    let sandbox = Sandbox::new();
    let args = ["--device", "gw-07", "--relay-entity", "gw-07", "factory/gw 8", "--relay-anonymous", "open"];
    let mut hub = Hub::start(&sandbox, &args);
    let port = hub.port().to_owned();
    let client = RelayClient::new(&hub);
    let mut keys = Vec::new();
    for (file, rule, entity) in [
        ("root.conn", "RootManageSharedAccessKey", None),
        ("send.conn", "send", None),
        ("gw-07.listen.conn", "listen", Some("gw-07")),
        ("factory%2Fgw%208.listen.conn", "listen", Some("factory/gw 8")),
        ("open.listen.conn", "listen", Some("open")),
    ] {
        let text = client.connection_string(file);
        let key = field(&text, "SharedAccessKey");
        let entity = entity.map_or_else(String::new, |entity| format!(";EntityPath={entity}"));
        let expected = format!(
            "Endpoint=sb://localhost:{port}/;SharedAccessKeyName={rule};SharedAccessKey={key}{entity}\n"
        );
        assert_eq!(text, expected);
        assert_eq!(mode(&hub.dir.join("relay").join(file)), 0o600, "{file}");
        keys.push(key.to_owned());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
    let profiles: toml::Table = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap().parse().unwrap();
    assert_eq!(profiles["default"].as_str(), Some("emulator"));
    assert!(profiles["profile"]["emulator"]["connection-string"].is_str());
    let relay = &profiles["profile"]["relay"];
    assert_eq!(relay["connection-string-file"].as_str(), Some("relay/send.conn"));
    assert_eq!(relay["ca-file"], profiles["profile"]["emulator"]["ca-file"]);

    let before = client.connection_string("gw-07.listen.conn");
    hub.restart(&sandbox);
    assert_eq!(client.connection_string("gw-07.listen.conn"), before);
}

#[test]
fn without_entities_there_is_no_relay() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &[]);
    assert!(!hub.dir.join("relay").exists());
    assert!(!fs::read_to_string(hub.dir.join("profiles.toml")).unwrap().contains("relay"));
}

#[test]
fn the_strings_name_the_first_host() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(
        &sandbox,
        &["--hostname", "ns.a.example", "--hostname", "g0.a.example", "--relay-entity", "hyco"],
    );
    let client = RelayClient::new(&hub);
    let start = format!("Endpoint=sb://ns.a.example:{}/;", hub.port());
    assert!(client.connection_string("send.conn").starts_with(&start));
    // Users on this machine reach another name.
    let profiles: toml::Table = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap().parse().unwrap();
    let string = profiles["profile"]["relay"]["connection-string"].as_str().unwrap();
    assert!(string.starts_with(&format!("Endpoint=sb://localhost:{}/;", hub.port())), "{string}");
}

#[test]
fn names_are_checked() {
    let sandbox = Sandbox::new();
    for name in ["a//b", "..", "a;b", ""] {
        let mut command = sandbox.iotstream();
        command.args(["emulator", "--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--dir", "hub"]);
        let done = Process::start("emulator", command.args(["--relay-entity", name])).finish(LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(2), ""), "{}", done.stderr);
        assert!(done.stderr.contains(&format!("hybrid connection '{name}'")), "{}", done.stderr);
    }
}
