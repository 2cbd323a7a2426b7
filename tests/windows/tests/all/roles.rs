//! The emulator and the agent, as Windows programs.

use std::fs;
use std::io::{self, Read, Write};
use std::sync::mpsc::channel;
use std::thread;

use crate::support::{
    DEVICE, Host, Hub, Iotstream, LIMIT, Pattern, Sandbox, agent, agent_with, closed_port, echo, exe, serve,
    verify,
};

const SIZE: usize = 16 << 20;

/// Sends the pattern through `helper` to an echo target, and compares what comes back.
fn echoes(helper: &Iotstream) {
    let mut helper = helper.start();
    let (mut to, from) = (helper.stdin.take().unwrap(), helper.stdout.take().unwrap());
    let sender = thread::spawn(move || io::copy(&mut Pattern::new(SIZE), &mut to).map(drop));
    verify(from, SIZE);
    sender.join().unwrap().unwrap();
    helper.finish(LIMIT).succeeded();
}

#[test]
fn every_pair_of_systems_carries_a_stream() {
    for (hub_on, agent_on) in [(Host::Windows, Host::Windows), (Host::Linux, Host::Windows)] {
        let sandbox = Sandbox::new();
        let hub = Hub::start(hub_on, &sandbox, &["--device", DEVICE]);
        let _agent = agent(agent_on, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{}", echo())]);
        echoes(&hub.helper(&sandbox, &[DEVICE]));
    }
}

#[test]
fn a_relay_carries_a_stream() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--relay-entity", DEVICE]);
    let target = [format!("ssh=127.0.0.1:{}", echo())];
    let _agent = agent_with(Host::Windows, &sandbox, &hub, "relay/dev-1.listen.conn", &target);
    echoes(&hub.helper(&sandbox, &["--profile", "relay", DEVICE]));
}

/// A hub on Linux, and iotstream.exe as the agent with `targets` in its configuration file.
fn configured(targets: impl Fn(&Hub) -> String, arguments: &[&str]) -> (Iotstream, Hub, Sandbox) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let credential = hub.directory.join("devices").join("dev-1.conn");
    let config = format!(
        "connection-string-file = '{}'\nca-file = '{}'\n{}",
        credential.display(),
        hub.ca_file(),
        targets(&hub),
    );
    // Its default place.
    let directory = sandbox.path("ProgramData");
    fs::create_dir_all(directory.join("iotstream")).unwrap();
    sandbox.write(r"ProgramData\iotstream\agent.toml", config);
    let agent =
        Iotstream::new(&sandbox, &[&["agent", "-v"], arguments].concat()).env("ProgramData", &directory);
    (agent, hub, sandbox)
}

/// The stream `outer`, whose target is a command: a helper itself, for the stream `inner` to `port`.
fn nested(port: u16) -> impl Fn(&Hub) -> String {
    move |hub| {
        let command = [&exe(), "--config", &hub.profiles(), "--stream", "inner", DEVICE];
        let command = command.map(|word| format!("'{word}'")).join(", ");
        format!(
            "[[target]]\nstream = 'inner'\nconnect = '127.0.0.1:{port}'\n\
             [[target]]\nstream = 'outer'\ncommand = [{command}]\n"
        )
    }
}

#[test]
fn a_command_is_a_target() {
    let (agent, hub, sandbox) = configured(nested(echo()), &[]);
    let agent = agent.start();
    agent.stderr.says("in service", LIMIT);
    echoes(&hub.helper(&sandbox, &["--stream", "outer", DEVICE]));
}

#[test]
fn a_command_gets_the_variables_of_windows() {
    let targets = "[[target]]\nstream = 'cmd'\ncommand = ['cmd', '/C', 'echo %SystemRoot% %TEMP% %IOTSTREAM_STREAM%']\n";
    let (agent, hub, sandbox) = configured(|_| targets.into(), &[]);
    let agent = agent.start();
    agent.stderr.says("in service", LIMIT);
    let done = hub.helper(&sandbox, &["--stream", "cmd", DEVICE]).finish("").succeeded();
    let own = |name: &str| std::env::var(name).unwrap();
    assert_eq!(done.text(), format!("{} {} cmd\r\n", own("SystemRoot"), own("TEMP")));
}

#[test]
fn a_command_ends_with_its_stream() {
    let (ended, end) = channel();
    let port = serve(move |mut stream| {
        stream.write_all(b"up").unwrap();
        let _ = io::copy(&mut stream, &mut io::sink());
        let _ = ended.send(());
    });
    let (agent, hub, sandbox) = configured(nested(port), &[]);
    let agent = agent.start();
    agent.stderr.says("in service", LIMIT);
    let mut helper = hub.helper(&sandbox, &["--stream", "outer", DEVICE]).start();
    helper.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    helper.terminate();
    agent.stderr.says("stream 'outer': ended after", LIMIT);
    end.recv_timeout(LIMIT).expect("the command has ended");
}

#[test]
fn the_agent_s_configuration_is_checked() {
    let targets = "[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:PORT\"\n";
    for (port, status) in [(echo(), 0), (closed_port(), 69)] {
        let (check, _hub, _sandbox) =
            configured(|_| targets.replace("PORT", &port.to_string()), &["--check"]);
        let done = check.finish("");
        assert_eq!(done.status, status, "{}{}", String::from_utf8_lossy(&done.stdout), done.stderr);
    }
}

#[test]
fn what_needs_a_unix_socket_is_refused() {
    let targets = "[[target]]\nstream = \"ssh\"\nconnect = \"unix:/run/ssh.sock\"\n";
    let (agent, _hub, _sandbox) = configured(|_| targets.into(), &[]);
    let done = agent.finish("");
    assert_eq!(done.status, 78, "{}", done.stderr);
    assert!(done.stderr.contains("Unix"), "{}", done.stderr);
}

#[test]
fn a_missing_configuration_is_named() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("ProgramData");
    let done = Iotstream::new(&sandbox, &["agent"]).env("ProgramData", &directory).finish("");
    assert_eq!(done.status, 78, "{}", done.stderr);
    let expected = directory.join(r"iotstream\agent.toml");
    assert!(done.stderr.contains(expected.to_str().unwrap()), "{}", done.stderr);
}
