//! What the options of the service write, and what is wrong with them.

use std::fs;

use super::super::mqtt_client::Mqtt;
use super::{Dps, SCOPE};
use crate::support::hub_client::HubClient;
use crate::support::{Hub, LIMIT, Process, Sandbox, mode};

#[test]
fn the_service_writes_its_scope_and_its_keys() {
    let args = ["--dps-device", "gw-07", "--dps-device", "a:b=gw-08"];
    let mut dps = Dps::start(&args);
    assert_eq!(fs::read_to_string(dps.dir.join("dps/scope")).unwrap(), format!("{SCOPE}\n"));
    let files = ["group.key", "devices/gw-07.key", "devices/a%3Ab.key"];
    let keys = files.map(|file| dps.file(file));
    for (file, key) in files.iter().zip(&keys) {
        assert_eq!(mode(&dps.dir.join("dps").join(file)), 0o600, "{file}");
        assert_eq!(data_encoding::BASE64.decode(key.as_bytes()).unwrap().len(), 32);
    }
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
    // No device is registered before it asks.
    assert_eq!(fs::read_dir(dps.dir.join("devices")).unwrap().count(), 0);
    let Dps { hub, sandbox, .. } = &mut dps;
    hub.restart(sandbox);
    assert_eq!(files.map(|file| dps.file(file)), keys);
}

#[test]
fn a_known_group_key_is_used() {
    let sandbox = Sandbox::new();
    let group_key = "MDEyMzQ1Njc4OWFiY2RlZg==";
    fs::create_dir_all(sandbox.path("hub/dps")).unwrap();
    sandbox.write("hub/dps/group.key", group_key);
    let hub = Hub::start(&sandbox, &["--dps-scope", SCOPE]);
    let dps = Dps { client: HubClient::new(&hub), hub, sandbox };
    assert_eq!(dps.key("gw-07"), "tSeBq0SyFsVX7Gda4p41mHaNFL64Va3/7Eb5U3lCIds=");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(dps.assigned("gw-07")).status, 200);
}

#[tokio::test]
async fn without_a_scope_there_is_no_service() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &[]);
    assert!(!hub.dir.join("dps").exists());
    let client = HubClient::new(&hub);
    let answer = client.request("PUT", &super::register_path("gw-07"), &[], "").await;
    // The hub's own form of an error.
    assert_eq!((answer.status, answer.json().get("Message").is_some()), (404, true));
    assert_eq!(client.websocket("/", &[("sec-websocket-protocol", "mqtt")]).await.unwrap_err(), 404);
    let mut mqtt = Mqtt { io: client.tls(client.mqtts).await };
    let username = format!("{SCOPE}/registrations/gw-07/api-version=2019-03-31");
    assert_ne!(mqtt.connect("gw-07", &username, "x").await, 0);
}

#[test]
fn start_errors_name_their_cause() {
    let sandbox = Sandbox::new();
    sandbox.write("no.pem", "hello");
    let scope = ["--dps-scope", SCOPE];
    for (arguments, status, text) in [
        (&["--dps-scope", "0ne/1"][..], 2, "'0ne/1' is not an id scope"),
        (&["--dps-device", "gw-07"], 2, "--dps-scope"),
        (&["--dps-ca", "no.pem"], 2, "--dps-scope"),
        (&[&scope[..], &["--dps-device", "a b"]].concat(), 2, "registration id 'a b'"),
        (&[&scope[..], &["--dps-device", "a=x y"]].concat(), 2, "device 'x y'"),
        (&[&scope[..], &["--dps-x509-device", "a=0f"]].concat(), 2, "--dps-x509-device 'a=0f' is not"),
        (&[&scope[..], &["--dps-ca", "no.pem"]].concat(), 78, "no.pem: it holds no certificate"),
        (&[&scope[..], &["--inject", "dps=x"]].concat(), 2, "dps-assigning="),
    ] {
        let mut command = sandbox.iotstream();
        command.args(["emulator", "--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--dir", "hub"]);
        let done = Process::start("emulator", command.args(arguments)).finish(LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(status), ""), "{}", done.stderr);
        assert!(done.stderr.contains(text), "{}", done.stderr);
    }
    sandbox.write("hub/dps/group.key", "hunter2!");
    let mut command = sandbox.iotstream();
    command.args(["emulator", "--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--dir", "hub"]);
    let done = Process::start("emulator", command.args(scope)).finish(LIMIT);
    assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
    assert!(done.stderr.contains("group.key: it is not a key in base64"), "{}", done.stderr);
    assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
}
