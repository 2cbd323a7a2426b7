//! An identity of the IoT Identity Service: the daemons on the machine have it and sign with its key.

use serde_json::{Value, json};

use super::ECHO;
use crate::support::{
    DEVICE, Hub, IdentityService, LIMIT, OTHER_USER, Process, Sandbox, Stdin, Testbed, finish, give,
    in_service, iotstream, need, run, set_mode,
};

const MODULE: &str = "iotstream";
const REGISTERED: [&str; 4] = ["--device", DEVICE, "--device", "dev-1/iotstream"];

struct Device {
    service: IdentityService,
    hub: Hub,
    sandbox: Sandbox,
}

impl Device {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &REGISTERED);
        let service = IdentityService::start(&sandbox, &hub, DEVICE, MODULE);
        Self { service, hub, sandbox }
    }

    /// An agent with this addition to its configuration.
    fn agent_with(&self, more: &str) -> Process {
        let config = format!("{}{more}\n{ECHO}", self.service.config(&self.hub));
        let config = self.sandbox.write("agent.toml", config);
        Process::start("agent", self.sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(config))
    }

    fn agent(&self) -> Process {
        self.agent_with("")
    }

    #[track_caller]
    fn echoes(&self) {
        let mut helper = self.hub.helper(&self.sandbox);
        helper.args(["--stream", "echo", "--module", MODULE, DEVICE]);
        assert_eq!(
            run(&mut helper, Stdin::Ends(b"there and back"), LIMIT).succeeded().text(),
            "there and back"
        );
    }

    /// The check of the identity service by `agent --check`.
    fn finding(&self) -> Value {
        let config = self.sandbox.write("agent.toml", format!("{}{ECHO}", self.service.config(&self.hub)));
        let mut check = self.sandbox.iotstream();
        let done = finish(check.args(["agent", "--check", "--json", "--config"]).arg(config));
        let findings: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        let found = findings.into_iter().find(|finding| finding["check"] == "identity-service");
        found.unwrap_or_else(|| panic!("{}", done.text()))
    }
}

#[test]
fn ssh_reaches_a_module_whose_key_stays_in_the_daemon() {
    let testbed = Testbed::make(&["--device", "dev-1/iotstream"], |sandbox, hub, _, port| {
        let service = IdentityService::start(sandbox, hub, DEVICE, MODULE);
        let target = format!("[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{port}\"\n");
        let config = sandbox.write("agent.toml", service.config(hub) + &target);
        let mut agent = in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(config));
        agent.says("in service as device dev-1/iotstream at localhost:", 1, LIMIT);
        // One login, for which the daemons are asked once. They are not needed after it.
        let state = service.state();
        let [message] = &state.messages[..] else { panic!("{:?}", state.messages) };
        let (sr, expiry) = message.split_once('\n').unwrap();
        assert_eq!(sr, "localhost%2Fdevices%2Fdev-1%2Fmodules%2Fiotstream");
        let life = expiry.parse::<u64>().unwrap() - crate::support::sas::unix_seconds();
        assert!((3500..=3600).contains(&life), "{life}");
        assert_eq!(state.asked, 1);
        let handle = state.keys.keys().next().unwrap();
        assert!(!agent.stderr().contains(handle), "{}", agent.stderr());
        agent
    });
    testbed.configure("--module iotstream");
    let done = run(testbed.openssh("ssh").args([DEVICE, "echo there"]), Stdin::Ends(b""), LIMIT);
    assert_eq!(done.succeeded().text(), "there\n");
}

#[test]
fn a_user_without_a_principal_is_told_what_to_write() {
    let device = Device::new();
    let uid = rustix::process::geteuid().as_raw();
    device.service.state().uid = uid + 1;
    let mut agent = device.agent();
    agent.says("aziot-identityd answered 401: authorization error; trying again", 1, LIMIT);
    let hint = agent.says("hint: write [[principal]]", 1, LIMIT);
    assert!(hint.contains(&format!("uid = {uid},")) && hint.contains("aziotctl system restart"), "{hint}");
    device.service.state().uid = uid;
    agent.says("in service", 1, LIMIT);
    device.echoes();
}

#[test]
fn throttled_requests_are_asked_again() {
    let device = Device::new();
    device.service.identityd.throttle(2);
    device.service.keyd.throttle(2);
    let mut agent = device.agent();
    agent.says("in service", 1, LIMIT);
    assert!(!agent.stderr().contains("trying again"), "{}", agent.stderr());
    device.service.identityd.throttle(usize::MAX);
    let finding = device.finding();
    assert_eq!(finding["detail"], "aziot-identityd closed 5 connections in a row without an answer");
}

#[test]
fn a_lost_hub_connection_may_lead_to_another_hub() {
    let mut device = Device::new();
    let mut agent = device.agent();
    agent.says("in service", 1, LIMIT);
    let elsewhere = Sandbox::new();
    let other = Hub::start(&elsewhere, &REGISTERED);
    device.service.provision(&other, DEVICE, Some(MODULE));
    let ca =
        [&device.hub, &other].map(|hub| std::fs::read_to_string(hub.dir.join("ca.pem")).unwrap()).concat();
    device.sandbox.write("hub/ca.pem", ca);
    agent.signal(rustix::process::Signal::HUP);
    agent.says(&format!("in service as device dev-1/iotstream at {}", other.name()), 1, LIMIT);
    device.service.provision(&device.hub, DEVICE, Some(MODULE));
    drop(other);
    agent.says(&format!("in service as device dev-1/iotstream at {}", device.hub.name()), 2, LIMIT);
    device.echoes();
    device.hub.stop();
}

#[test]
fn a_refused_key_is_asked_for_again() {
    let device = Device::new();
    let (handle, key) = device.service.state().keys.pop_first().unwrap();
    device.service.state().keys.insert(handle.clone(), "AAAA".into());
    let mut agent = device.agent();
    agent.says("refuses module dev-1/iotstream: not authorized", 2, LIMIT);
    assert!(device.service.state().asked >= 2);
    device.service.state().keys.insert(handle, key);
    agent.says("in service", 1, LIMIT);
    device.echoes();
}

#[test]
fn a_key_handle_changes_with_the_daemons() {
    let mut device = Device::new();
    let mut agent = device.agent();
    agent.says("in service", 1, LIMIT);
    let (_, key) = device.service.state().keys.pop_first().unwrap();
    device.service.state().keys.insert("new".into(), key);
    device.service.state().identity["spec"]["auth"]["keyHandle"] = "new".into();
    device.service.identityd.restart();
    device.service.keyd.restart();
    device.hub.restart(&device.sandbox);
    agent.says("in service", 2, LIMIT);
    device.echoes();
}

#[test]
fn the_last_identity_holds_while_its_daemon_is_away() {
    let mut device = Device::new();
    let mut agent = device.agent();
    agent.says("in service", 1, LIMIT);
    device.service.identityd.stop();
    device.hub.restart(&device.sandbox);
    agent.says("using the last identity: module dev-1/iotstream at localhost:", 1, LIMIT);
    agent.says("in service", 2, LIMIT);
    device.echoes();
    // Unless the hub refuses it.
    let handle = device.service.state().keys.keys().next().unwrap().clone();
    let key = device.service.state().keys.insert(handle.clone(), "AAAA".into()).unwrap();
    device.hub.restart(&device.sandbox);
    agent.says("refuses module dev-1/iotstream: not authorized", 1, LIMIT);
    agent.says("aziot-identityd cannot be reached", 2, LIMIT);
    device.service.state().keys.insert(handle, key);
    device.service.identityd.restart();
    agent.says("in service", 3, LIMIT);
}

#[test]
fn a_daemon_that_is_away_is_waited_for() {
    let mut device = Device::new();
    device.service.identityd.remove();
    device.service.keyd.stop();
    let mut agent = device.agent();
    agent.says("aziot-identityd cannot be reached at", 1, LIMIT);
    agent.says("hint: install aziot-identity-service", 1, LIMIT);
    device.service.identityd.restart();
    agent.says("aziot-keyd cannot be reached at", 1, LIMIT);
    agent.says("hint: check that it runs: `aziotctl system status`", 1, LIMIT);
    device.service.keyd.restart();
    agent.says("in service", 1, LIMIT);
    device.echoes();
}

#[test]
fn a_hub_connection_outlives_a_daemon_that_does_not_sign() {
    let mut device = Device::new();
    // Renewed after 17 s.
    let mut agent = device.agent_with("token-life = \"20s\"");
    agent.says("in service", 1, LIMIT);
    device.service.keyd.stop();
    agent.says("renewal: aziot-keyd cannot be reached", 1, LIMIT);
    device.echoes();
    device.service.keyd.restart();
    agent.says("in service", 2, LIMIT);
    device.echoes();
    assert!(!agent.stderr().contains("ended the connection"), "{}", agent.stderr());
}

#[test]
fn useless_answers_are_told_apart() {
    let device = Device::new();
    let good = device.service.state().identity.clone();
    let changed = |pointer: &str, value: Value| {
        let mut identity = good.clone();
        *identity.pointer_mut(pointer).unwrap() = value;
        identity
    };
    for (identity, part) in [
        (
            json!("Hub client error\ncaused by: module iotstream not found"),
            "answered 404: Hub client error: module",
        ),
        (changed("/type", "local".into()), "the identity of this user is local"),
        (changed("/spec/auth", json!({})), "not the documented JSON"),
        (changed("/spec/hubName", "a/b".into()), "hubName is not a host name"),
        (changed("/spec/deviceId", "a b".into()), "cannot be part of a device id"),
        (changed("/spec/auth/type", "x509".into()), "authenticates with 'x509'"),
        (changed("/spec/auth", json!({ "type": "tpm" })), "authenticates with 'tpm'"),
    ] {
        device.service.state().identity = identity;
        let problem = device.finding()["detail"].to_string();
        assert!(problem.contains(part), "{part}: {problem}");
    }
    device.service.state().identity = good;
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(70_000));
    for (raw, part) in [
        ("SSH-2.0-x\r\n", "not HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "not the documented JSON"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "closed 5 connections"),
        ("HTTP/1.1 500 X\r\nContent-Length: 6\r\n\r\n<html>", "answered 500"),
        (&long, "longer than"),
    ] {
        device.service.identityd.send_raw(Some(raw.as_bytes()));
        let problem = device.finding()["detail"].to_string();
        assert!(problem.contains(part), "{part}: {problem}");
    }
    device.service.identityd.send_raw(None);
    assert_eq!(device.finding()["status"], "pass");

    let signature = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"signature\":\"AAAA\"}";
    device.service.keyd.send_raw(Some(signature.as_bytes()));
    device.agent().says("its signature is not an HMAC-SHA256; trying again", 1, LIMIT);
}

#[test]
fn an_identity_of_the_device_and_a_gateway_are_warned_of() {
    let device = Device::new();
    device.service.provision(&device.hub, DEVICE, None);
    device.service.state().identity["spec"]["gatewayHost"] = "parent".into();
    let mut agent = device.agent();
    agent.says("gives the identity of the device itself", 1, LIMIT);
    agent.says("names the gateway parent, which has no device streams", 1, LIMIT);
    agent.says(&format!("in service as device {DEVICE} at {}", device.hub.name()), 1, LIMIT);
    agent.signal(rustix::process::Signal::HUP);
    agent.says("in service", 2, LIMIT);
}

#[test]
fn the_sockets_need_the_groups_of_the_daemons() {
    const GROUP: &str = "54322";
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become another user");
        return;
    }
    let device = Device::new();
    device.service.state().uid = OTHER_USER;
    for socket in ["identityd.sock", "keyd.sock"] {
        let socket = device.service.sockets.join(socket);
        give(&socket, None, GROUP.parse().ok());
        set_mode(&socket, 0o660);
    }
    let config = device.sandbox.write("agent.toml", device.service.config(&device.hub) + ECHO);
    for (name, mode) in [("", 0o755), ("hub", 0o755), ("hub/ca.pem", 0o644), ("agent.toml", 0o644)] {
        set_mode(&device.sandbox.path(name), mode);
    }
    let agent = |groups: &str| {
        let user = OTHER_USER.to_string();
        let mut command = device.sandbox.command(need("setpriv"));
        command.args(["--reuid", &user, "--regid", &user, groups, iotstream()]);
        Process::start("agent", command.args(["agent", "-vv", "--config"]).arg(&config))
    };
    let mut outsider = agent("--clear-groups");
    outsider.says("identityd.sock: Permission denied", 1, LIMIT);
    outsider.says("usermod -aG aziotid,aziotks \"$(id -nu 54321)\"", 1, LIMIT);
    agent(&format!("--groups={GROUP}")).says("in service", 1, LIMIT);
}
