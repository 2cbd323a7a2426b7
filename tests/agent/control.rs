//! `iotstream agent approve`, `revoke` and `status`.

use std::io;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::{SOON, ask, event, events};
use crate::support::{
    DEVICE, EchoStream, Finished, Hub, Process, Sandbox, agent_with_config, eventually, finish, serve,
};

/// Streams that a person approves, with the names of two other targets.
const CONFIG: &str = "approve-timeout = 2\naudit-log = \"audit.log\"\n\
    [[target]]\nstream = \"tcp-*\"\nbuiltin = \"echo\"\napprove = { ask = true }\n\
    [[target]]\nstream = \"open\"\nbuiltin = \"echo\"\n\
    [[target]]\nstream = \"shut\"\nbuiltin = \"echo\"\napprove = \"never\"\n";

/// The same, with time for a test to answer.
fn patient() -> String {
    CONFIG.replace("approve-timeout = 2", "approve-timeout = 60")
}

fn control(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.iotstream();
    command.arg("agent").args(args);
    command
}

#[track_caller]
fn done(sandbox: &Sandbox, args: &[&str]) -> String {
    finish(&mut control(sandbox, args)).succeeded().text().trim().to_owned()
}

#[track_caller]
fn refused(sandbox: &Sandbox, args: &[&str], parts: &[&str]) {
    let done = finish(&mut control(sandbox, args));
    assert_eq!(done.status.code(), Some(1), "{args:?}: {}", done.stderr);
    for part in parts {
        assert!(done.stderr.contains(part), "{part} for {args:?}: {}", done.stderr);
    }
}

fn status(sandbox: &Sandbox) -> Value {
    let done = finish(&mut control(sandbox, &["status", "--json"]));
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stderr))
}

/// Asks for a stream that waits for approval, lets `answer` do it, and returns what the helper does.
fn while_pending(sandbox: &Sandbox, hub: &Hub, stream: &str, answer: impl FnOnce(&Value)) -> Finished {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(sandbox, hub, stream, "let me in"));
        let pending = eventually(SOON, || {
            let pending = status(sandbox)["pending"].as_array().unwrap().clone();
            pending.into_iter().find(|found| found["stream"] == stream).ok_or(format!("{stream} waits"))
        });
        answer(&pending);
        asking.join().unwrap()
    })
}

fn reload(agent: &mut Process, times: usize) {
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", times, SOON);
}

/// This user, as the audit log has it.
fn is_us(approver: &Value) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    approver.as_str().unwrap().contains(&format!("uid {uid}"))
}

#[test]
fn a_window_lets_in_streams_of_one_name_survives_a_reload_and_ends_at_a_restart() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, CONFIG);
    let approve = ["approve", "tcp-443", "--for", "2h", "--reason", "ticket\u{202e} 4711"];
    assert_eq!(done(&sandbox, &approve), "later streams of this name are approved for 2h");
    ask(&sandbox, &hub, "tcp-443", "x").succeeded();
    assert_eq!(ask(&sandbox, &hub, "tcp-80", "x").status.code(), Some(69));
    assert_eq!(event(&sandbox, "tcp-80", "rejected")["reason"], "nobody answered within 2s");

    let (opened, accepted) = (event(&sandbox, "tcp-443", "window"), event(&sandbox, "tcp-443", "accepted"));
    assert_eq!((&opened["seconds"], &accepted["approved"]), (&7200.into(), &"window".into()));
    for event in [opened, accepted] {
        assert!(is_us(&event["approver"]), "{event}");
        assert_eq!(event["reason"], "ticket\\u{202e} 4711", "{event}");
    }

    reload(&mut agent, 1);
    ask(&sandbox, &hub, "tcp-443", "x").succeeded();
    let windows = status(&sandbox)["windows"].clone();
    assert_eq!((&windows[0]["stream"], &windows[1]), (&"tcp-443".into(), &Value::Null));
    assert!((7100..7200).contains(&windows[0]["remaining"].as_u64().unwrap()), "{windows}");

    agent.signal(Signal::TERM);
    agent.ends(SOON);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, CONFIG);
    assert_eq!(ask(&sandbox, &hub, "tcp-443", "x").status.code(), Some(69));
}

/// Where a stream leads depends on its port.
#[test]
fn a_window_that_a_command_opened_survives_a_reload() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let port = serve(|stream| {
        let _ = io::copy(&mut &stream, &mut &stream);
    });
    let config = format!(
        "audit-log = \"audit.log\"\n[[target]]\nstream = \"tcp-*\"\nports = [\"{port}\"]\n\
         connect = \"127.0.0.1:{{port}}\"\napprove = {{ command = [\"true\"], for = \"1h\" }}\n"
    );
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    ask(&sandbox, &hub, &format!("tcp-{port}"), "x").succeeded();
    reload(&mut agent, 1);
    assert_eq!(status(&sandbox)["windows"][0]["stream"], format!("tcp-{port}"));
}

#[test]
fn a_pending_request_is_answered_once_or_for_a_while() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = patient().replace("{ ask = true }", "{ ask = true, for = \"1h\" }");
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &patient());
    let answered = while_pending(&sandbox, &hub, "tcp-80", |pending| {
        assert_eq!((&pending["target"], &pending["approve"]), (&"builtin echo".into(), &"ask".into()));
        let text = done_with_status(&sandbox, &["status"], 0);
        assert!(text.contains("\n  tcp-80 to builtin echo, for "), "{text}");
        // What waits is named to those who ask for another.
        refused(&sandbox, &["approve", "tcp-443"], &["'tcp-443' waits for approval; tcp-80 does"]);
        assert_eq!(done(&sandbox, &["approve", "tcp-80", "--reason", "once"]), "1 request approved");
    });
    assert_eq!(answered.succeeded().text(), "let me in");
    assert!(
        agent.stderr().contains("waits 1m for approval: iotstream agent approve tcp-80"),
        "{}",
        agent.stderr()
    );
    let accepted = event(&sandbox, "tcp-80", "accepted");
    assert_eq!((&accepted["approved"], &accepted["reason"]), (&"control".into(), &"once".into()));
    assert!(is_us(&accepted["approver"]), "{accepted}");
    assert!(status(&sandbox)["windows"].as_array().unwrap().is_empty());

    let file = std::fs::read_to_string(sandbox.path("agent.toml")).unwrap();
    let (head, _) = file.split_once("approve-timeout").unwrap();
    sandbox.write("agent.toml", format!("{head}{config}"));
    reload(&mut agent, 1);
    let answered = while_pending(&sandbox, &hub, "tcp-80", |_| {
        done(&sandbox, &["approve", "tcp-80"]);
    });
    answered.succeeded();
    ask(&sandbox, &hub, "tcp-80", "x").succeeded();
    assert_eq!(status(&sandbox)["windows"][0]["stream"], "tcp-80");
}

#[test]
fn a_command_s_approval_opens_a_window_and_a_user_may_answer_for_it() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let target = |name: &str, command: &str| {
        format!(
            "[[target]]\nstream = {name:?}\nbuiltin = \"echo\"\n\
             approve = {{ command = [\"/bin/sh\", \"-c\", {command:?}], for = \"1h\" }}\n"
        )
    };
    let once = target("once", "mkdir asked");
    let hangs = target("hangs", "sleep 600 & wait");
    let config = format!("approve-timeout = 60\naudit-log = \"audit.log\"\n{once}{hangs}");
    let agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    ask(&sandbox, &hub, "once", "x").succeeded();
    // The command would fail now.
    ask(&sandbox, &hub, "once", "x").succeeded();
    let accepted = events(&sandbox, "audit.log").into_iter().filter(|event| event["event"] == "accepted");
    let accepted: Vec<_> =
        accepted.map(|event| (event["approved"].clone(), event["approver"].clone())).collect();
    assert_eq!(accepted, [("command".into(), "command".into()), ("window".into(), "command".into())]);
    let answered = while_pending(&sandbox, &hub, "hangs", |_| {
        done(&sandbox, &["approve", "hangs"]);
    });
    answered.succeeded();
    sandbox.leaves_only(SOON, &[&hub.process, &agent]);
}

#[test]
fn revoking_ends_windows_and_live_streams_where_it_is_told_to() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, CONFIG);
    let approve = |stream| done(&sandbox, &["approve", stream, "--for", "1h"]);
    let is_rejected = |stream| ask(&sandbox, &hub, stream, "x").status.code() == Some(69);
    approve("tcp-1");
    approve("tcp-2");
    let mut one = EchoStream::open(&sandbox, &hub, "tcp-1");
    let mut two = EchoStream::open(&sandbox, &hub, "tcp-2");
    let mut open = EchoStream::open(&sandbox, &hub, "open");
    assert_eq!(done(&sandbox, &["revoke", "tcp-1"]), "1 approval window ended");
    assert!(is_rejected("tcp-1"));
    assert!(is_us(&event(&sandbox, "tcp-1", "revoked")["approver"]));
    one.works();
    refused(&sandbox, &["revoke", "tcp-1"], &["'tcp-1' has no approval window; there is tcp-2"]);
    assert_eq!(done(&sandbox, &["revoke", "tcp-1", "--cut"]), "0 approval windows ended; 1 stream cut");
    one.helper.ends(SOON);
    assert!(event(&sandbox, "tcp-1", "end")["reason"].as_str().unwrap().starts_with("revoked by "));
    two.works();
    assert_eq!(done(&sandbox, &["revoke", "--all", "--cut"]), "1 approval window ended; 1 stream cut");
    two.helper.ends(SOON);
    // Its target asks nobody.
    open.works();
    assert_eq!(done(&sandbox, &["revoke", "--all"]), "0 approval windows ended");

    // A change of the configuration ends what it no longer allows.
    approve("tcp-1");
    let file = std::fs::read_to_string(sandbox.path("agent.toml")).unwrap();
    sandbox.write("agent.toml", file.replace("{ ask = true }", "\"never\""));
    reload(&mut agent, 1);
    assert!(status(&sandbox)["windows"].as_array().unwrap().is_empty());
    assert!(is_rejected("tcp-1"));
}

#[test]
fn what_cannot_be_approved_is_refused() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, CONFIG);
    refused(&sandbox, &["approve", "tcp-1"], &["nothing does", "--for"]);
    refused(
        &sandbox,
        &["approve", "ssh", "--for", "1h"],
        &["no target accepts", "targets are tcp-*, open, shut"],
    );
    refused(&sandbox, &["approve", "open", "--for", "1h"], &["needs no approval"]);
    refused(&sandbox, &["approve", "shut", "--for", "1h"], &["approve = \"never\""]);
}

#[track_caller]
fn done_with_status(sandbox: &Sandbox, args: &[&str], expected: i32) -> String {
    let done = finish(&mut control(sandbox, args));
    assert_eq!(done.status.code(), Some(expected), "{}{}", done.text(), done.stderr);
    done.text().to_owned()
}

#[test]
fn the_status_says_whether_the_agent_is_in_service() {
    let sandbox = Sandbox::new();
    let mut hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, CONFIG);
    let live = EchoStream::open(&sandbox, &hub, "open");
    let text = done_with_status(&sandbox, &["status"], 0);
    for part in [
        &format!("in service: agent {} (process {})", env!("CARGO_PKG_VERSION"), agent.pid()),
        &format!("\n  in service as device {DEVICE} at {}\n", hub.name()),
        "\nopen streams: 1\n  open to builtin echo, for ",
        ": 14 bytes to the user, 14 bytes from the user\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = status(&sandbox);
    assert_eq!((&json["state"], &json["pid"]), (&"in-service".into(), &agent.pid().into()));
    assert_eq!(json["services"][0]["device"], DEVICE);
    let stream = &json["streams"][0];
    assert_eq!(
        (&stream["id"], &stream["stream"], &stream["from-user"]),
        (&1.into(), &"open".into(), &14.into())
    );

    hub.stop();
    drop(live);
    agent.says("trying again", 1, SOON);
    assert!(done_with_status(&sandbox, &["status"], 75).starts_with("waiting for the service: "));

    agent.signal(Signal::TERM);
    agent.ends(SOON);
    let done = finish(&mut control(&sandbox, &["status"]));
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("no agent answers at "), "{}", done.stderr);

    // The hub refuses the key.
    hub.restart(&sandbox);
    let key = std::fs::read_to_string(hub.device_file(DEVICE)).unwrap();
    let (head, _) = key.split_once("SharedAccessKey=").unwrap();
    std::fs::write(hub.device_file(DEVICE), format!("{head}SharedAccessKey=AAAA")).unwrap();
    let mut command = sandbox.iotstream();
    let mut agent =
        Process::start("agent", command.args(["agent", "--config"]).arg(sandbox.path("agent.toml")));
    agent.says("trying again", 1, SOON);
    assert!(done_with_status(&sandbox, &["status"], 1).starts_with("out of service: "));
}
