//! No secret reaches a command line, a log or a core dump.

use std::fs;

use crate::support::{DEVICE, LIMIT, Process, echo_device};

#[track_caller]
fn holds_no_secret(place: &str, text: &str, keys: &[String]) {
    assert!(!text.is_empty(), "there is nothing to look at in {place}");
    // Every JSON web token begins with `eyJ`.
    for secret in keys.iter().map(String::as_str).chain(["sig=", "eyJ"]) {
        assert!(!text.contains(secret), "{place} holds {secret}: {text}");
    }
}

#[test]
fn no_secret_appears_in_command_lines_or_logs() {
    let (agent, hub, sandbox) = echo_device("echo");
    let keys = hub.keys();
    assert_eq!(keys.len(), 2, "one of the service, one of the device");
    let mut helper = hub.helper(&sandbox);
    helper.args(["-vv", "--log-file", "helper.log", "--stream", "echo", DEVICE]);
    let log = sandbox.path("helper.log");
    let mut helper = Process::start("helper", &mut helper);
    helper.say("echoed\n");
    helper.says("echoed", 1, LIMIT);

    let seen = sandbox.processes(&[]);
    assert!(seen.len() >= 3, "hub, agent and helper: {seen:?}");
    for seen in seen {
        holds_no_secret("a command line", &seen.cmdline, &keys);
    }
    helper.close_stdin();
    assert_eq!(helper.ends(LIMIT).code(), Some(0), "{}", helper.stderr());
    holds_no_secret("the helper's stderr", &helper.stderr(), &keys);
    holds_no_secret("the helper's log", &std::fs::read_to_string(log).unwrap(), &keys);
    holds_no_secret("the agent's stderr", &agent.stderr(), &keys);
    holds_no_secret("the hub's stderr", &hub.process.stderr(), &keys);
}

#[test]
fn the_helper_leaves_no_core_dump() {
    let (_agent, hub, sandbox) = echo_device("ssh");
    // With the highest limit possible, so that the helper has to lower it.
    let mut shell = sandbox.command("sh");
    shell.args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh"]);
    let helper = hub.helper(&sandbox);
    shell.arg(helper.get_program()).args(helper.get_args()).arg(DEVICE);
    let mut helper = Process::start("helper", &mut shell);
    helper.say("echoed\n");
    helper.says("echoed", 1, LIMIT);
    let limits = fs::read_to_string(format!("/proc/{}/limits", helper.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let limits: Vec<&str> = line.split_whitespace().take(2).collect();
    assert!(limits.iter().all(|limit| matches!(*limit, "0" | "1")), "soft and hard: {limits:?}");
}
