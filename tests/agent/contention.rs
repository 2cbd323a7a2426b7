//! Another client logs in with the agent's identity.

use std::time::{Duration, Instant};

use super::{ECHO, SOON, ask};
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, agent_with_config, python_program, run};

/// Within which a fight is noticed.
const MINUTE: Duration = Duration::from_secs(60);

const THROWN_OUT: &str = "another client logs in as dev-1, most likely";

/// An application that logs in with the device's connection string, with a client of Microsoft's that logs in again ten
/// seconds after it was thrown out.
const APPLICATION: &str = r#"
import sys, threading
from azure.iot.device import IoTHubDeviceClient
from paho.mqtt import client as paho
# The client knows the service's port alone.
here, connect = int(sys.argv[3]), paho.Client.connect
paho.Client.connect = lambda self, host, port, *rest, **more: connect(self, host, here, *rest, **more)
text, ca = (open(name).read().strip() for name in sys.argv[1:3])
text = text.replace(f":{here}", "")
client = IoTHubDeviceClient.create_from_connection_string(text, server_verification_cert=ca, websockets=True)
client.on_connection_state_change = lambda: print("connected" if client.connected else "thrown out", file=sys.stderr, flush=True)
client.connect()
threading.Event().wait()
"#;

fn application(sandbox: &Sandbox, hub: &Hub) -> Process {
    let mut command = sandbox.command(python_program("python"));
    command.args(["-c", APPLICATION]).arg(hub.device_file(DEVICE)).arg(hub.dir.join("ca.pem"));
    command.arg(hub.port());
    let mut application = Process::start("application", &mut command);
    application.says("connected", 1, SOON);
    application
}

#[test]
fn two_agents_with_one_identity_say_so_and_slow_down() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut first = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let begin = Instant::now();
    let mut second = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    first.says(THROWN_OUT, 1, MINUTE);
    second.says(THROWN_OUT, 1, MINUTE.saturating_sub(begin.elapsed()));
    first.says("give the agent a module of its own", 1, SOON);
    // The state that systemd shows keeps the remark.
    first.says("; another client logs in as dev-1", 1, MINUTE);
    // Whoever waits lets the other one work.
    ask(&sandbox, &hub, "echo", "in between").succeeded();
}

#[test]
fn an_application_with_the_agents_identity_is_noticed_by_both_sides() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let begin = Instant::now();
    let mut application = application(&sandbox, &hub);
    let mut check = sandbox.iotstream();
    check.args(["check", "--config"]).arg(hub.dir.join("profiles.toml")).arg(DEVICE);
    let check = run(&mut check, Stdin::Ends(b""), LIMIT);
    assert!(check.text().contains("another client logs in as dev-1"), "{}{}", check.text(), check.stderr);
    agent.says(THROWN_OUT, 1, MINUTE.saturating_sub(begin.elapsed()));
    application.says("thrown out", 1, SOON);
}

#[test]
fn an_application_and_an_agent_with_a_module_leave_each_other_alone() {
    let module = "dev-1%2Fiotstream";
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "dev-1/iotstream"]);
    let agent = agent_with_config(&sandbox, &hub, module, ECHO);
    let application = application(&sandbox, &hub);
    let mut helper = hub.helper(&sandbox);
    let done = run(
        helper.args(["--module", "iotstream", "--stream", "echo", DEVICE]),
        Stdin::Ends(b"through the module"),
        LIMIT,
    );
    assert_eq!(done.succeeded().text(), "through the module");
    for (side, says) in [(&agent, "trying again"), (&application, "thrown out")] {
        assert!(!side.stderr().contains(says), "{}", side.stderr());
    }
}
