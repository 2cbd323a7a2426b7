//! The agent as a module of IoT Edge: its container's environment names the identity, and the workload API signs.

use super::ECHO;
use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, WorkloadApi, finish, in_service, run,
};

const MODULE: &str = "iotstream";

fn module() -> (WorkloadApi, Hub, Sandbox) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--device", "dev-1/iotstream"]);
    (WorkloadApi::start(&sandbox, &hub, MODULE), hub, sandbox)
}

#[track_caller]
fn ask(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> String {
    let mut helper = hub.helper(sandbox);
    run(helper.args(args), Stdin::Ends(b"there and back"), LIMIT).succeeded().text().to_owned()
}

#[test]
fn ssh_reaches_a_module_without_a_file() {
    let testbed = Testbed::make(&["--device", "dev-1/iotstream"], |sandbox, hub, _, port| {
        let api = WorkloadApi::start(sandbox, hub, MODULE);
        in_service(&mut api.agent(sandbox, hub)).says("in service as device dev-1/iotstream at ", 1, LIMIT);
        let target = format!("ssh=127.0.0.1:{port}");
        let agent = in_service(api.agent(sandbox, hub).args(["--target", &target]));
        let signed = &api.state().signed;
        let [_, (path, message)] = &signed[..] else { panic!("{signed:?}") };
        assert_eq!(path, "/modules/iotstream/genid/638000000000000001/sign");
        let (sr, _) = message.split_once('\n').unwrap();
        assert_eq!(sr, "localhost%2Fdevices%2Fdev-1%2Fmodules%2Fiotstream");
        agent
    });
    testbed.configure("--module iotstream");
    let done = run(testbed.openssh("ssh").args([DEVICE, "echo there"]), Stdin::Ends(b""), LIMIT);
    assert_eq!(done.succeeded().text(), "there\n");
}

#[test]
fn ids_are_encoded_in_the_path() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--device", "dev-1/a#b%2F?"]);
    let api = WorkloadApi::start(&sandbox, &hub, "a#b%2F?");
    let _agent = in_service(api.agent(&sandbox, &hub).args(["--target", "echo=builtin:echo"]));
    assert_eq!(api.state().signed[0].0, "/modules/a%23b%252F%3F/genid/638000000000000001/sign");
    let echoed = ask(&sandbox, &hub, &["--stream", "echo", "--module", "a#b%2F?", DEVICE]);
    assert_eq!(echoed, "there and back");
}

#[test]
fn a_file_without_a_credential_sets_the_rest() {
    let (api, hub, sandbox) = module();
    let target = "[[target]]\nstream = \"env\"\ncommand = [\"env\"]\n\
                  approve = { command = [\"sh\", \"-c\", \"! env | grep IOTEDGE_\"] }\n";
    let config = sandbox.write("agent.toml", target);
    let _agent = in_service(api.agent(&sandbox, &hub).arg("--config").arg(config));
    let environment = ask(&sandbox, &hub, &["--stream", "env", "--module", MODULE, DEVICE]);
    assert!(environment.contains("IOTSTREAM_DEVICE=dev-1/iotstream\n"), "{environment}");
    assert!(!environment.contains("IOTEDGE_"), "{environment}");
}

#[test]
fn a_file_with_a_credential_takes_precedence() {
    let (api, hub, sandbox) = module();
    let config = format!("connection-string-file = {:?}\n{ECHO}", hub.device_file(DEVICE));
    let config = sandbox.write("agent.toml", config);
    let mut agent = in_service(api.agent(&sandbox, &hub).arg("--config").arg(config));
    agent.says(&format!("in service as device {DEVICE} at "), 1, LIMIT);
    drop(agent);
    let mut agent = api.agent(&sandbox, &hub);
    agent.arg("--connection-string-file").arg(hub.device_file(DEVICE));
    in_service(&mut agent).says(&format!("in service as device {DEVICE} at "), 1, LIMIT);
    assert!(api.state().signed.is_empty());
}

#[test]
fn an_unusable_environment_is_an_error_that_names_the_variable() {
    let (api, hub, sandbox) = module();
    let needed = api.environment().into_iter().map(|(name, _)| name);
    let needed = needed.filter(|name| !matches!(*name, "IOTEDGE_WORKLOADURI" | "IOTEDGE_GATEWAYHOSTNAME"));
    let missing = needed.map(|name| (name, "", format!("{name} is not set")));
    let wrong = [
        ("IOTEDGE_WORKLOADURI", "http://10.0.0.1:8081", "IOTEDGE_WORKLOADURI is 'http://10.0.0.1:8081'"),
        ("IOTEDGE_WORKLOADURI", "", "IOTEDGE_WORKLOADURI is not set"),
        ("IOTEDGE_AUTHSCHEME", "x509", "IOTEDGE_AUTHSCHEME is 'x509'"),
        ("IOTEDGE_IOTHUBHOSTNAME", "a/b", "IOTEDGE_IOTHUBHOSTNAME is not a host name"),
    ];
    let wrong = wrong.map(|(name, value, problem)| (name, value, problem.to_owned()));
    for (name, value, problem) in missing.chain(wrong) {
        let done = finish(api.agent(&sandbox, &hub).env(name, value));
        assert_eq!(done.status.code(), Some(78), "{name}: {}", done.stderr);
        assert!(done.stderr.contains(&problem), "{problem}: {}", done.stderr);
    }
    let mut outside = sandbox.iotstream();
    let done = finish(outside.args(["agent", "--target", "echo=builtin:echo"]));
    assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("--target requires --connection-string-file"), "{}", done.stderr);
}

#[test]
fn the_daemon_may_refuse_throttle_and_restart() {
    let (mut api, hub, sandbox) = module();
    api.state().generation = "1".into();
    let mut agent =
        Process::start("agent", api.agent(&sandbox, &hub).args(["--target", "echo=builtin:echo"]));
    agent.says("aziot-edged answered 404: module iotstream not found; trying again", 1, LIMIT);
    agent.says("hint: check that the agent runs in the container of its own module", 1, LIMIT);
    api.daemon.remove();
    agent.says("aziot-edged cannot be reached at", 1, LIMIT);
    api.state().generation = crate::support::GENERATION.into();
    api.daemon.throttle(2);
    api.daemon.restart();
    agent.says("in service", 1, LIMIT);
    let echoed = ask(&sandbox, &hub, &["--stream", "echo", "--module", MODULE, DEVICE]);
    assert_eq!(echoed, "there and back");
}

#[test]
fn check_needs_no_file_either() {
    let (api, hub, sandbox) = module();
    let done =
        finish(api.agent(&sandbox, &hub).args(["--check", "--target", "echo=builtin:echo"])).succeeded();
    assert!(done.text().contains("the environment of IoT Edge: 1 targets"), "{}", done.text());
    assert!(done.text().contains("accepts module dev-1/iotstream"), "{}", done.text());
    api.daemon
        .send_raw(Some(b"HTTP/1.1 500 X\r\nContent-Length: 25\r\n\r\n{\"message\":\"no \\u001b key\"}"));
    let done = finish(api.agent(&sandbox, &hub).args(["--check", "--target", "echo=builtin:echo"]));
    assert_eq!(done.status.code(), Some(75), "{}", done.text());
    assert!(done.text().contains("aziot-edged answered 500"), "{}", done.text());
    assert!(!done.stdout.contains(&0x1b), "{}", done.text());
}
