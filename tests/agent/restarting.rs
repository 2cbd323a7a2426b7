//! A restart of the service with `agent --restartable`, as its unit's ExecStop and systemd do it.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::{ECHO, SOON};
use crate::support::{DEVICE, EchoStream, Hub, LIMIT, Process, Sandbox, Stdin, in_service, run};

const TARGETS: &str = "[[target]]\nstream = \"command\"\ncommand = [\"cat\"]\n";

fn start(sandbox: &Sandbox, hub: &Hub, options: &str) -> Process {
    let config = format!(
        "connection-string-file = {:?}\nca-file = {:?}\naudit-log = \"audit.log\"\n{options}\n{ECHO}{TARGETS}",
        hub.device_file(DEVICE),
        hub.dir.join("ca.pem"),
    );
    let config = sandbox.write("agent.toml", config);
    in_service(sandbox.iotstream().args(["agent", "--restartable", "-vv", "--config"]).arg(config))
}

/// The last event of a stream in the audit log, once its stream has ended.
fn reason(sandbox: &Sandbox, stream: &str) -> String {
    super::event(sandbox, stream, "end")["reason"].as_str().unwrap().to_owned()
}

#[test]
fn live_streams_outlast_a_restart() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut old = start(&sandbox, &hub, "");
    let mut streams = ["echo", "command"].map(|name| EchoStream::open(&sandbox, &hub, name));
    // systemd's own signal follows at once.
    old.signal(Signal::USR2);
    old.signal(Signal::TERM);
    assert_eq!(old.ends(SOON).code(), Some(0));
    assert!(old.stderr().contains("left the hub, with 2 streams open"), "{}", old.stderr());

    let mut new = start(&sandbox, &hub, "");
    for stream in &mut streams {
        stream.works();
    }
    EchoStream::open(&sandbox, &hub, "echo").helper.close_stdin();
    for mut stream in streams {
        stream.works();
        stream.helper.close_stdin();
        assert_eq!(stream.helper.ends(SOON).code(), Some(0));
    }
    assert_eq!(reason(&sandbox, "command"), "the user ended (exit status: 0)");
    // stderr closes when the process that served them has ended.
    old.finish(SOON);
    assert!(!new.stderr().contains("trying again"), "one agent is at the hub: {}", new.stderr());
    new.signal(Signal::TERM);
    assert_eq!(new.ends(SOON).code(), Some(0));
    new.finish(SOON);
    let all = super::events(&sandbox, "audit.log");
    let offers = all.iter().filter(|event| event["event"] == "offer");
    let ids: BTreeSet<_> = offers.map(|offer| offer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 3, "no two streams have one number: {all:?}");
}

#[test]
fn streams_that_outlast_a_restart_have_a_time_limit() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = start(&sandbox, &hub, "restart-timeout = \"1s\"");
    let mut stream = EchoStream::open(&sandbox, &hub, "echo");
    agent.signal(Signal::USR2);
    stream.helper.ends(SOON);
    assert_eq!(reason(&sandbox, "echo"), "the agent was stopped");
    assert_eq!(agent.ends(SOON).code(), Some(0));
    agent.finish(SOON);
}

#[test]
fn the_main_process_stands_for_the_agent() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    // Signals are passed on, and a stop ends the streams.
    let mut agent = start(&sandbox, &hub, "stop-timeout = \"1s\"");
    let mut stream = EchoStream::open(&sandbox, &hub, "echo");
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", 1, SOON);
    agent.signal(Signal::TERM);
    assert_eq!(agent.ends(SOON).code(), Some(0));
    stream.helper.ends(SOON);
    agent.finish(SOON);

    // Killed, it leaves no process.
    let mut agent = start(&sandbox, &hub, "");
    let mut stream = EchoStream::open(&sandbox, &hub, "command");
    agent.signal(Signal::KILL);
    stream.helper.ends(SOON);
    agent.ends(SOON);
    agent.finish(SOON);

    // A failure has the agent's own exit status.
    let mut command = sandbox.iotstream();
    command.args(["agent", "--restartable", "--config", "/nonexistent/agent.toml"]);
    let failed = run(&mut command, Stdin::Ends(b""), LIMIT);
    assert_eq!(failed.status.code(), Some(78), "{}", failed.stderr);
    assert!(failed.stderr.contains("/nonexistent/agent.toml"), "{}", failed.stderr);
}
