//! The agent's control socket: who may use it, and whose it is.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use super::{ECHO, SOON};
use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Process, Sandbox, agent_with_config, finish, in_service, iotstream, mode,
    need, set_mode,
};

fn status(sandbox: &Sandbox) -> Finished {
    finish(sandbox.iotstream().args(["agent", "status", "--json"]))
}

/// The process that answers at the sandbox's socket.
#[track_caller]
fn holder(sandbox: &Sandbox) -> u64 {
    // It may be waiting for the hub.
    let done = status(sandbox);
    let status: serde_json::Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", done.stderr));
    status["pid"].as_u64().unwrap()
}

#[test]
fn other_users_are_refused() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become another user");
        return;
    }
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let socket = sandbox.path("control.sock");
    assert_eq!(mode(&socket), 0o600);
    set_mode(&sandbox.path(""), 0o755);
    let program = sandbox.path("iotstream");
    sandbox.copy_program(&program);
    set_mode(&program, 0o755);
    for mode in [0o600, 0o666] {
        set_mode(&socket, mode);
        for args in [&["status"][..], &["approve", "echo", "--for", "1h"], &["revoke", "--all"]] {
            let mut command = sandbox.command(need("setpriv"));
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
            let done = finish(command.arg(&program).arg("agent").args(args));
            assert_eq!(done.status.code(), Some(77), "{args:?}: {}", done.stderr);
            assert!(done.stderr.contains("only root and the agent's user"), "{}", done.stderr);
        }
    }
    agent.says("uid 65534 was refused", 3, LIMIT);
    assert_ne!(iotstream(), program.to_str().unwrap());
}

#[test]
fn a_dead_agent_s_socket_is_taken_over_and_a_living_one_s_is_not() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "dev-2"]);
    let socket = sandbox.path("control.sock");
    let mut dead = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    assert_eq!(holder(&sandbox), u64::from(dead.pid()));
    dead.kill();
    assert!(socket.exists());
    assert_eq!(status(&sandbox).status.code(), Some(69));
    let mut living = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    assert_eq!(holder(&sandbox), u64::from(living.pid()));

    let check = |config: &str| {
        let done =
            finish(sandbox.iotstream().args(["agent", "--check", "--config"]).arg(sandbox.path(config)));
        (done.status.code(), done.text().to_owned())
    };
    let (code, text) = check("agent.toml");
    assert!(code == Some(0) && text.contains("the agent of this device, has it"), "{text}");
    let other = std::fs::read_to_string(sandbox.path("agent.toml")).unwrap().replace(DEVICE, "dev-2");
    let other = sandbox.write("other.toml", other);
    let (code, text) = check("other.toml");
    assert!(code == Some(74) && text.contains("fail  control"), "{text}");

    let mut second = in_service(sandbox.iotstream().args(["agent", "-v", "--config"]).arg(other));
    second.says("another process listens there; the agent serves on without it", 1, SOON);
    assert_eq!(holder(&sandbox), u64::from(living.pid()));
    // One that ends leaves the other's socket.
    second.signal(Signal::TERM);
    second.ends(SOON);
    assert_eq!(holder(&sandbox), u64::from(living.pid()));
    living.signal(Signal::TERM);
    living.ends(SOON);
    assert!(!socket.exists());
}

#[test]
fn an_agent_without_its_directory_serves_on() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = in_service_at(&sandbox, &hub, "no/such/control.sock");
    agent.says("the agent serves on without it", 1, SOON);
    super::ask(&sandbox, &hub, "echo", "x").succeeded();
    drop(agent);
    // A file of somebody else's stays.
    let file = sandbox.write("file", "content");
    let mut agent = in_service_at(&sandbox, &hub, "file");
    agent.says("it exists and is not a socket", 1, SOON);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
    // Without a socket and a terminal, nobody can be asked.
    super::ask(&sandbox, &hub, "asks", "x");
    agent.says("there is no terminal to ask on", 1, SOON);
}

fn in_service_at(sandbox: &Sandbox, hub: &Hub, path: &str) -> Process {
    let (file, ca_file) = (hub.device_file(DEVICE), hub.dir.join("ca.pem"));
    let config = format!(
        "connection-string-file = {file:?}\nca-file = {ca_file:?}\ncontrol = {path:?}\n\
         {ECHO}[[target]]\nstream = \"asks\"\nbuiltin = \"echo\"\napprove = \"ask\"\n"
    );
    let config = sandbox.write("agent.toml", config);
    let mut command = sandbox.iotstream();
    in_service(command.env_remove("IOTSTREAM_CONTROL").args(["agent", "-v", "--config"]).arg(config))
}

#[test]
fn a_client_that_is_silent_or_sends_too_much_delays_nobody() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let connect = || UnixStream::connect(sandbox.path("control.sock")).unwrap();
    let silent: Vec<_> = (0..15).map(|_| connect()).collect();
    assert_eq!(holder(&sandbox), u64::from(agent.pid()));
    drop(silent);
    let answer = |question: &[u8]| {
        let mut client = connect();
        client.set_read_timeout(Some(SOON)).unwrap();
        // The agent may close before it has read everything.
        let _ = client.write_all(question);
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer
    };
    assert!(answer(b"{\"ask\":\"dance\"}\n").contains("does not understand"));
    assert!(!answer(&vec![b' '; 1 << 20]).contains("status"));
    assert!(answer(b"{\"ask\":\"status\"}\n").starts_with("{\"status\":"));
}
