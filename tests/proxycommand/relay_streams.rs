//! Streams through the emulator's relay, between our two ends.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::sas::percent_encoded;
use crate::support::{Finished, Hub, LIMIT, Process, Sandbox, Stdin, exchange, in_service, run};

const ECHO: &str = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";

fn relay(sandbox: &Sandbox, entity: &str) -> Hub {
    Hub::start(sandbox, &["--relay-entity", entity])
}

/// The configuration file `name` of an agent at `entity`, with the settings `relay` and targets.
fn configuration(sandbox: &Sandbox, hub: &Hub, name: &str, entity: &str, relay: &str, rest: &str) -> Command {
    let file = hub.dir.join("relay").join(format!("{}.listen.conn", percent_encoded(entity)));
    let config = format!(
        "ca-file = {:?}\n[relay]\nconnection-string-file = {file:?}\n{relay}\n{rest}",
        hub.dir.join("ca.pem")
    );
    let config = sandbox.write(name, config);
    let mut agent = sandbox.iotstream();
    agent.args(["agent", "-vv", "--config"]).arg(config);
    agent
}

fn agent(sandbox: &Sandbox, hub: &Hub, entity: &str, relay: &str) -> Process {
    in_service(&mut configuration(sandbox, hub, "agent.toml", entity, relay, ECHO))
}

fn helper(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> Command {
    let mut helper = hub.helper(sandbox);
    helper.args(["--profile", "relay"]).args(args);
    helper
}

fn helped(sandbox: &Sandbox, hub: &Hub, args: &[&str]) -> Finished {
    run(&mut helper(sandbox, hub, args), Stdin::Ends(b"hello"), LIMIT)
}

/// Adds keys to the profile `relay`.
fn configure(hub: &Hub, keys: &str) {
    let path = hub.dir.join("profiles.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("[profile.relay]\n").unwrap();
    fs::write(&path, format!("{before}[profile.relay]\n{keys}\n{after}")).unwrap();
}

#[test]
fn bytes_are_equal_both_ways() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "gw-07");
    let _agent = agent(&sandbox, &hub, "gw-07", "");
    let mut helper = helper(&sandbox, &hub, &["--stream", "echo", "gw-07"]);
    let done = exchange(&mut helper, 3 << 20, LIMIT);
    assert_eq!((done.sent, done.beyond), (done.received, 0));
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn the_agents_reason_reaches_the_user() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "gw-07");
    let _agent = agent(&sandbox, &hub, "gw-07", "");
    let done = helped(&sandbox, &hub, &["--stream", "nothing", "gw-07"]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("device gw-07 rejected the stream 'nothing'"), "{}", done.stderr);
    assert!(done.stderr.contains("no target named nothing"), "{}", done.stderr);
}

#[test]
fn a_missing_hybrid_connection_and_a_missing_agent_are_told_apart_where_the_relay_does() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "gw-07");
    let done = helped(&sandbox, &hub, &["gw-08"]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("there is no hybrid connection 'gw-08'"), "{}", done.stderr);
    let done = helped(&sandbox, &hub, &["gw-07"]);
    assert!(done.stderr.contains("device gw-07 is not connected to localhost"), "{}", done.stderr);
}

#[test]
fn a_wait_outlasts_a_missing_agent() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "gw-07");
    let args = ["-v", "--wait", "60s", "--connect-timeout", "500ms", "--stream", "echo", "gw-07"];
    let mut helper = Process::start("helper", &mut helper(&sandbox, &hub, &args));
    helper.says("; waiting", 1, LIMIT);
    let _agent = agent(&sandbox, &hub, "gw-07", "");
    helper.say("here\n");
    helper.says("here", 1, LIMIT);
}

#[test]
fn of_devices_that_share_a_hybrid_connection_the_named_one_answers() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "factory");
    configure(&hub, "entity = \"factory\"");
    let named = |name: &str| {
        let target = format!("[[target]]\nstream = \"who\"\ncommand = [\"echo\", \"{name}\"]\n");
        let relay = format!("device = \"{name}\"\nshared = true");
        in_service(&mut configuration(&sandbox, &hub, name, "factory", &relay, &target))
    };
    let _agents = ["gw-07", "gw-08"].map(named);
    for name in ["gw-08", "gw-07", "GW-08", "gw-07"] {
        let done = helped(&sandbox, &hub, &["--stream", "who", name]).succeeded();
        assert_eq!(done.text().trim(), name.to_lowercase());
    }
    let done = helped(&sandbox, &hub, &["--stream", "who", "gw-09"]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("another device than gw-09 answered"), "{}", done.stderr);
}

#[test]
fn check_and_ping_work_as_with_a_hub() {
    let sandbox = Sandbox::new();
    let hub = relay(&sandbox, "gw-07");
    let targets = format!("{ECHO}[[target]]\nstream = \"ssh\"\nbuiltin = \"echo\"\n");
    let _agent = in_service(&mut configuration(&sandbox, &hub, "agent.toml", "gw-07", "", &targets));
    let profiles = hub.dir.join("profiles.toml");
    let command = |name: &str| {
        let mut command = sandbox.iotstream();
        command.args([name, "--profile", "relay", "--config"]).arg(&profiles);
        command
    };
    let done =
        run(command("ping").args(["-c", "2", "-i", "10ms", "gw-07"]), Stdin::Ends(b""), LIMIT).succeeded();
    assert!(done.text().contains("2 probes sent, 2 answered"), "{}", done.text());
    let done = run(command("check").arg("gw-07"), Stdin::Ends(b""), Duration::from_secs(90));
    assert!(done.text().contains("credential"), "{}", done.text());
    assert!(done.text().contains("a relay has no gateway of its own"), "{}", done.text());
}
