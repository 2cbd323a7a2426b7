//! What the tests of `ping` and `bench` share.

use std::process::Command;

use serde_json::Value;

use crate::support::{DEVICE, Finished, Hub, LIMIT, Process, Sandbox, Stdin, agent_command, in_service, run};

pub const BUILTINS: &[&str] = &["echo=builtin:echo", "discard=builtin:discard", "source=builtin:source"];

/// A hub, and a device whose agent offers `targets`.
pub fn device(hub: &[&str], targets: &[&str]) -> (Process, Hub, Sandbox) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &[&["--device", DEVICE], hub].concat());
    let mut agent = agent_command(&sandbox, &hub, DEVICE, &[]);
    for target in targets {
        agent.arg("--target").arg(target);
    }
    (in_service(&mut agent), hub, sandbox)
}

pub fn command(sandbox: &Sandbox, hub: &Hub, name: &str, args: &[&str]) -> Command {
    let mut command = sandbox.iotstream();
    command.arg(name).arg("--config").arg(hub.dir.join("profiles.toml")).args(args).arg(DEVICE);
    command
}

pub fn finish(sandbox: &Sandbox, hub: &Hub, name: &str, args: &[&str]) -> Finished {
    run(&mut command(sandbox, hub, name, args), Stdin::Ends(b""), LIMIT)
}

pub fn json(done: &Finished) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}
