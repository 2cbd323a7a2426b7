//! An agent at Azure Relay: which streams it accepts, and what it tells those it rejects.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{ECHO, SOON, event, events};
use crate::support::{DEVICE, EchoStream, Finished, Hub, LIMIT, Process, Sandbox, Stdin, in_service, run};

/// A hybrid connection that devices share.
pub(super) const SHARED: &str = "site/all";

/// A relay with a hybrid connection for the device and a shared one, and a hub that knows the device too.
pub(super) fn relay(sandbox: &Sandbox, faults: &str) -> Hub {
    let mut args = vec!["--device", DEVICE, "--relay-entity", DEVICE, SHARED];
    if !faults.is_empty() {
        args.extend(["--inject", faults]);
    }
    Hub::start(sandbox, &args)
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// The file of the connection string for listening at `entity`, as it is in a configuration.
pub(super) fn listen_file(hub: &Hub, entity: &str) -> String {
    quoted(&hub.dir.join("relay").join(format!("{}.listen.conn", entity.replace('/', "%2F"))))
}

/// A command that runs an agent with this configuration.
pub(super) fn agent_command(sandbox: &Sandbox, hub: &Hub, config: &str) -> Command {
    let ca_file = quoted(&hub.dir.join("ca.pem"));
    let config = sandbox.write("agent.toml", format!("ca-file = {ca_file}\n{config}"));
    let mut command = sandbox.iotstream();
    command.args(["agent", "-vv", "--config"]).arg(config);
    command
}

/// An agent at the device's hybrid connection, in service, with the rest of a configuration.
pub(super) fn relay_agent(sandbox: &Sandbox, hub: &Hub, rest: &str) -> Process {
    let file = listen_file(hub, DEVICE);
    in_service(&mut agent_command(sandbox, hub, &format!("connection-string-file = {file}\n{rest}")))
}

/// A helper that uses the relay.
pub(super) fn helper(sandbox: &Sandbox, hub: &Hub) -> Command {
    let mut helper = hub.helper(sandbox);
    helper.args(["--profile", "relay"]);
    helper
}

/// Opens `stream` through the relay, sends `text` and reads to the end.
fn ask(sandbox: &Sandbox, hub: &Hub, stream: &str, text: &str) -> Finished {
    run(helper(sandbox, hub).args(["--stream", stream, DEVICE]), Stdin::Ends(text.as_bytes()), LIMIT)
}

fn script(sandbox: &Sandbox, name: &str, text: &str) -> String {
    quoted(&sandbox.write_script(name, text))
}

#[test]
fn a_rejection_tells_the_user_why() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "");
    let config = format!(
        "audit-log = \"audit.log\"\n{ECHO}[[target]]\nstream = \"never\"\nbuiltin = \"echo\"\napprove = \"never\"\n\
         [[target]]\nstream = \"full\"\nbuiltin = \"echo\"\nmax-sessions = 0\n\
         [[target]]\nstream = \"down\"\nconnect = \"127.0.0.1:1\"\n"
    );
    let _agent = relay_agent(&sandbox, &hub, &config);
    assert_eq!(ask(&sandbox, &hub, "echo", "let me in").succeeded().text(), "let me in");
    for (stream, why) in [
        ("none", "no target named none"),
        ("never", "approve = \"never\""),
        ("full", "there are 0 streams of this target already"),
        ("down", "target 127.0.0.1:1: "),
    ] {
        let done = ask(&sandbox, &hub, stream, "let me in");
        assert_eq!(done.status.code(), Some(69), "{stream}: {}", done.stderr);
        assert!(done.stderr.contains(why), "{stream}: {}", done.stderr);
        let rejected = event(&sandbox, stream, "rejected");
        assert!(rejected["reason"].as_str().unwrap().contains(why), "{rejected}");
    }
    let offer = event(&sandbox, "echo", "offer");
    assert_eq!((&offer["device"], &offer["hub"]), (&DEVICE.into(), &hub.name().into()));
    assert!(offer["request-id"].as_str().is_some_and(|id| id.contains("_G")), "{offer}");
    assert!(offer["requester"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{offer}");
}

#[test]
fn an_approval_program_gets_the_request() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "");
    let program =
        script(&sandbox, "approve", "cat >facts\necho $IOTSTREAM_REQUEST_ID $IOTSTREAM_REQUESTER >variables");
    let config = format!(
        "audit-log = \"audit.log\"\n[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\napprove = {{ command = [{program}] }}\n"
    );
    let _agent = relay_agent(&sandbox, &hub, &config);
    ask(&sandbox, &hub, "echo", "let me in").succeeded();
    let offer = event(&sandbox, "echo", "offer");
    let facts: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path("facts")).unwrap()).unwrap();
    assert_eq!((&facts["request-id"], &facts["requester"]), (&offer["request-id"], &offer["requester"]));
    assert_eq!((&facts["hub"], &facts["device"]), (&offer["hub"], &offer["device"]));
    let variables = fs::read_to_string(sandbox.path("variables")).unwrap();
    let expected = [&offer["request-id"], &offer["requester"]].map(|value| value.as_str().unwrap());
    assert_eq!(variables.split_whitespace().collect::<Vec<_>>(), expected);
}

#[test]
fn a_slow_approval_is_asked_for_once() {
    let sandbox = Sandbox::new();
    // A try is over before the program decides.
    let hub = relay(&sandbox, "relay-timeout=2s");
    let program = script(&sandbox, "approve", "echo >>asked\nsleep 3");
    let config = format!(
        "audit-log = \"audit.log\"\n[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\napprove = {{ command = [{program}] }}\n"
    );
    let _agent = relay_agent(&sandbox, &hub, &config);
    assert_eq!(ask(&sandbox, &hub, "echo", "let me in").succeeded().text(), "let me in");
    assert_eq!(fs::read_to_string(sandbox.path("asked")).unwrap().lines().count(), 1);
    let count = |event: &str| {
        let events = events(&sandbox, "audit.log");
        events.iter().filter(|line| line["event"] == event).count()
    };
    assert_eq!((count("offer"), count("start")), (1, 1));
    // Another start is another question.
    ask(&sandbox, &hub, "echo", "let me in").succeeded();
    assert_eq!(fs::read_to_string(sandbox.path("asked")).unwrap().lines().count(), 2);
}

#[test]
fn only_the_named_device_serves_a_shared_hybrid_connection() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "relay-allowed=ignored");
    let file = listen_file(&hub, SHARED);
    let config = format!("connection-string-file = {file}\ndevice = \"Press 1\"\nshared = true\n{ECHO}");
    let _agent = in_service(&mut agent_command(&sandbox, &hub, &config));
    let ca_file = quoted(&hub.dir.join("ca.pem"));
    let send = quoted(&hub.dir.join("relay/send.conn"));
    let profile = |entity: &str| {
        let profile = format!(
            "default = \"x\"\n[profile.x]\nconnection-string-file = {send}\nca-file = {ca_file}\nentity = \"{entity}\"\n"
        );
        sandbox.write("profiles.toml", profile)
    };
    let ask = |entity: &str, device: &str| {
        let mut helper = sandbox.iotstream();
        helper.arg("--config").arg(profile(entity)).args(["--stream", "echo", "--name", device, device]);
        run(&mut helper, Stdin::Ends(b"let me in"), LIMIT)
    };
    assert_eq!(ask(SHARED, "press 1").succeeded().text(), "let me in");
    let other = ask(SHARED, "press 2");
    assert_eq!(other.status.code(), Some(69), "{}", other.stderr);
    assert!(other.stderr.contains("this is device Press 1, not press 2"), "{}", other.stderr);
    // This sender takes the entity for its device's own, and names nobody.
    let nobody = ask("site/{device}", "all");
    assert_eq!(nobody.status.code(), Some(69), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("name the device"), "{}", nobody.stderr);
}

#[test]
fn one_agent_serves_a_hub_and_a_relay_and_a_reload_moves_it() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "");
    let device = quoted(&hub.device_file(DEVICE));
    let file = listen_file(&hub, DEVICE);
    let rest = format!("audit-log = \"audit.log\"\n{ECHO}");
    let by_hub = format!("connection-string-file = {device}\n{rest}");
    let by_both = format!("{by_hub}[relay]\nconnection-string-file = {file}\n");
    let by_relay = format!("connection-string-file = {file}\n{rest}");
    let mut agent = in_service(&mut agent_command(&sandbox, &hub, &by_hub));
    let mut over_hub = EchoStream::open(&sandbox, &hub, "echo");
    let gone = ask(&sandbox, &hub, "echo", "x");
    assert_eq!(gone.status.code(), Some(69), "{}", gone.stderr);

    agent_command(&sandbox, &hub, &by_both);
    agent.signal(Signal::HUP);
    // The hub connection is renewed, and the relay's is new.
    agent.says("in service", 3, SOON);
    let mut over_relay = EchoStream::with(helper(&sandbox, &hub).args(["--stream", "echo", DEVICE]));
    over_hub.works();
    ask(&sandbox, &hub, "echo", "x").succeeded();
    run(hub.helper(&sandbox).args(["--stream", "echo", DEVICE]), Stdin::Ends(b"x"), LIMIT).succeeded();

    agent_command(&sandbox, &hub, &by_relay);
    agent.signal(Signal::HUP);
    agent.says("in service", 4, SOON);
    over_hub.works();
    over_relay.works();
    ask(&sandbox, &hub, "echo", "x").succeeded();
    let mut through_hub = hub.helper(&sandbox);
    through_hub.args(["--connect-timeout", "2s", "--stream", "echo", DEVICE]);
    assert_eq!(run(&mut through_hub, Stdin::Ends(b"x"), LIMIT).status.code(), Some(69));
    agent.signal(Signal::TERM);
    assert!(agent.ends(SOON).success());
}

#[test]
fn a_check_opens_no_control_channel() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "");
    let file = listen_file(&hub, DEVICE);
    let mut command = agent_command(&sandbox, &hub, &format!("connection-string-file = {file}\n{ECHO}"));
    let done = run(command.args(["--check", "--json"]), Stdin::Ends(b""), LIMIT).succeeded();
    let findings: serde_json::Value = serde_json::from_str(done.text()).unwrap();
    let findings = findings.as_array().unwrap();
    for step in ["dns", "tcp", "tls", "clock", "credential", "target echo"] {
        let found = findings.iter().find(|finding| finding["check"] == step);
        assert_eq!(found.unwrap_or_else(|| panic!("no {step}"))["status"], "pass", "{}", done.text());
    }
    assert!(done.text().contains("not tried"), "{}", done.text());
    assert!(!hub.process.stderr().contains("listen"), "{}", hub.process.stderr());

    let given = "Endpoint=sb://localhost:1/;SharedAccessSignature=SharedAccessSignature sr=x&sig=AAAA&se=9&skn=r;EntityPath=e";
    let given = quoted(&sandbox.write("given.conn", given));
    let config = format!("connection-string-file = {given}\n{ECHO}");
    let done = Process::start("agent", &mut agent_command(&sandbox, &hub, &config)).finish(LIMIT);
    assert_eq!(done.status.code(), Some(78), "{}", done.stderr);
    assert!(done.stderr.contains("expired at 1970-01-01"), "{}", done.stderr);
}

#[test]
fn a_corrected_credential_is_used_without_a_reload() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "");
    let good = fs::read_to_string(hub.dir.join("relay").join(format!("{DEVICE}.listen.conn"))).unwrap();
    let wrong = good.replace("SharedAccessKey=", "SharedAccessKey=x");
    let file = quoted(&sandbox.write("listen.conn", wrong));
    let config = format!("connection-string-file = {file}\n{ECHO}");
    let mut agent = Process::start("agent", &mut agent_command(&sandbox, &hub, &config));
    let refused = agent.says("refuses a listener", 1, SOON);
    assert!(refused.contains("401") && refused.contains("TrackingId:"), "{refused}");
    sandbox.write("listen.conn", good);
    agent.says("in service", 1, Duration::from_secs(60));
    ask(&sandbox, &hub, "echo", "x").succeeded();
}

#[test]
fn senders_may_name_a_port_in_azbridges_preamble() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "");
    let targets = ["ssh", "tcp-8080", "db"]
        .map(|stream| format!("[[target]]\nstream = {stream:?}\nbuiltin = \"echo\"\n"));
    let config = format!("audit-log = \"audit.log\"\n{}[relay]\npreamble = \"azbridge\"\n", targets.concat());
    let mut agent = relay_agent(&sandbox, &hub, &config);
    let profiles = format!(
        "[profile.x]\nconnection-string-file = {}\nca-file = {}\npreamble = \"azbridge\"\n",
        quoted(&hub.dir.join("relay/send.conn")),
        quoted(&hub.dir.join("ca.pem")),
    );
    let profiles = sandbox.write("profiles.toml", profiles);
    let ask = |args: &[&str]| {
        let mut helper = sandbox.iotstream();
        helper.arg("--config").arg(&profiles).args(["--profile", "x"]).args(args);
        run(&mut helper, Stdin::Ends(b"over the bridge"), LIMIT)
    };
    for args in [&[DEVICE][..], &[DEVICE, "8080"], &["--stream", "db", DEVICE]] {
        assert_eq!(ask(args).succeeded().text(), "over the bridge", "{args:?}");
    }
    for stream in ["ssh", "tcp-8080", "db"] {
        event(&sandbox, stream, "end");
    }
    let unknown = ask(&[DEVICE, "8081"]);
    assert!(!unknown.status.success() && unknown.stderr.contains("8081"), "{}", unknown.stderr);
    event(&sandbox, "tcp-8081", "rejected");
    // One that sends no preamble is reported, and delays nobody.
    let mut silent = Process::start("helper", helper(&sandbox, &hub).arg(DEVICE));
    assert_eq!(ask(&[DEVICE]).succeeded().text(), "over the bridge");
    agent.says("preamble is missing", 1, SOON);
    silent.kill();
}
