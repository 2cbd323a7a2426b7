//! What the agent reports to its twin.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{ECHO, SOON, ask};
use crate::support::hub_client::HubClient;
use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent_with_config, eventually, python_program, run,
};

/// A program of the device's that reports a property of its own, with a client of Microsoft's.
const APPLICATION: &str = r#"
import sys
from azure.iot.device import IoTHubDeviceClient
from paho.mqtt import client as paho
# The client knows the service's port alone.
here, connect = int(sys.argv[3]), paho.Client.connect
paho.Client.connect = lambda self, host, port, *rest, **more: connect(self, host, here, *rest, **more)
text, ca = (open(name).read().strip() for name in sys.argv[1:3])
text = text.replace(f":{here}", "")
client = IoTHubDeviceClient.create_from_connection_string(text, server_verification_cert=ca, websockets=True)
client.connect()
client.patch_twin_reported_properties({"rate": 5})
client.shutdown()
"#;

/// Runs the program to its end.
fn report_a_rate(sandbox: &Sandbox, hub: &Hub) {
    let mut application = sandbox.command(python_program("python"));
    application.args(["-c", APPLICATION]).arg(hub.device_file(DEVICE)).arg(hub.dir.join("ca.pem"));
    run(application.arg(hub.port()), Stdin::Ends(b""), LIMIT).succeeded();
}

/// Reads the reported properties of `identity` as a service.
struct Twins {
    runtime: tokio::runtime::Runtime,
    client: HubClient,
}

impl Twins {
    fn of(hub: &Hub) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: HubClient::new(hub) }
    }

    fn reported(&self, identity: &str) -> Value {
        let path = format!("/twins/{identity}?api-version=2020-09-30");
        let answer = self.runtime.block_on(self.client.as_policy("service", "GET", &path, ""));
        assert_eq!(answer.status, 200);
        answer.json()["properties"]["reported"].take()
    }

    /// Waits until the agent with `identity` reports these streams, and returns the version.
    #[track_caller]
    fn names(&self, identity: &str, names: &[&str]) -> u64 {
        eventually(SOON, || {
            let reported = self.reported(identity);
            let streams = names.iter().enumerate();
            let streams: Value =
                streams.map(|(at, name)| (format!("s{at}"), json!({ "name": name }))).collect();
            let expected = json!({ "agent": env!("CARGO_PKG_VERSION"), "streams": streams });
            if reported["iotstream"] == expected {
                Ok(reported["$version"].as_u64().unwrap())
            } else {
                Err(reported.to_string())
            }
        })
    }
}

/// Reloads the agent with these streams.
fn reload(sandbox: &Sandbox, agent: &mut Process, streams: &[&str]) {
    let path = sandbox.path("agent.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once("[[target]]").unwrap();
    sandbox.write("agent.toml", format!("{before}{}", targets(streams)));
    let times = agent.stderr().matches("in service").count();
    agent.signal(Signal::HUP);
    agent.says("in service", times + 1, SOON);
}

fn targets(streams: &[&str]) -> String {
    streams.iter().map(|stream| format!("[[target]]\nstream = {stream:?}\nbuiltin = \"echo\"\n")).collect()
}

#[test]
fn the_streams_are_reported_on_change_beside_the_properties_of_other_programs() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let twins = Twins::of(&hub);
    report_a_rate(&sandbox, &hub);
    let before = twins.reported(DEVICE)["$version"].as_u64().unwrap();
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &targets(&["echo", "tcp-*"]));
    assert_eq!(twins.names(DEVICE, &["echo", "tcp-*"]), before + 1);
    // A reload that changes nothing writes nothing, as the next version shows.
    reload(&sandbox, &mut agent, &["echo", "tcp-*"]);
    reload(&sandbox, &mut agent, &["new", "echo", "tcp-*"]);
    assert_eq!(twins.names(DEVICE, &["new", "echo", "tcp-*"]), before + 2);
    reload(&sandbox, &mut agent, &["echo"]);
    assert_eq!(twins.names(DEVICE, &["echo"]), before + 3);
    // An agent that finds its own report writes nothing.
    agent.kill();
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    agent.says("up to date", 1, SOON);
    assert_eq!(twins.names(DEVICE, &["echo"]), before + 3);
    assert_eq!(twins.reported(DEVICE)["rate"], 5);
}

#[test]
fn a_module_reports_to_its_own_twin() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "dev-1/iotstream"]);
    let _agent = agent_with_config(&sandbox, &hub, "dev-1%2Fiotstream", ECHO);
    let twins = Twins::of(&hub);
    twins.names("dev-1/modules/iotstream", &["echo"]);
    assert_eq!(twins.reported(DEVICE)["iotstream"], Value::Null);
}

#[test]
fn another_device_is_reported_to_after_a_reload() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "dev-2"]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let twins = Twins::of(&hub);
    let version = twins.names(DEVICE, &["echo"]);
    let path = sandbox.path("agent.toml");
    let other = std::fs::read_to_string(&path).unwrap().replace("dev-1.conn", "dev-2.conn");
    sandbox.write("agent.toml", other);
    reload(&sandbox, &mut agent, &["echo", "more"]);
    twins.names("dev-2", &["echo", "more"]);
    assert_eq!(twins.names(DEVICE, &["echo"]), version);
}

#[test]
fn a_request_that_is_open_at_a_reload_is_made_again() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "twin=silent@1"]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    agent.says(": reading", 1, SOON);
    reload(&sandbox, &mut agent, &["echo", "more"]);
    Twins::of(&hub).names(DEVICE, &["echo", "more"]);
    assert!(!agent.stderr().contains("no answer"), "{}", agent.stderr());
}

/// A hub that does not have twins, or not now: the streams stay in service. The agent `says` what is wrong, and logs in, so
/// many times.
fn streams_stay_in_service(fault: &str, says: (&str, usize), logins: usize) {
    const PAUSE: Duration = Duration::from_secs(90);
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", &format!("twin={fault}")]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let (text, times) = says;
    agent.says(text, times, PAUSE);
    agent.says("in service", logins, SOON);
    for _ in 0..3 {
        ask(&sandbox, &hub, "echo", "hello").succeeded();
    }
    let said = agent.stderr();
    assert_eq!((said.matches(text).count(), said.matches("in service").count()), (times, logins), "{said}");
    assert!(!said.contains("another client"), "{said}");
}

#[test]
fn a_hub_that_refuses_twins_keeps_its_streams() {
    streams_stay_in_service("refused", ("the host keys are not reported", 1), 1);
}

#[test]
fn a_hub_that_ends_the_connection_over_its_twin_does_so_twice_and_then_not_for_an_hour() {
    // The first end may be the network's, and the next request follows within a minute.
    let ended = "the hub connection ended during a request; the next request is in ";
    streams_stay_in_service("drop", (ended, 2), 3);
}

#[test]
fn a_throttled_report_delays_no_stream() {
    streams_stay_in_service("429@1", ("the hub answers with 429: ", 1), 1);
}
