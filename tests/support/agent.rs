use std::io;
use std::path::Path;
use std::process::Command;

use super::{DEVICE, Hub, LIMIT, Process, Sandbox, serve};

/// `iotstream agent` for `device`, in service, with a loopback port as the target of each stream.
pub fn agent(sandbox: &Sandbox, hub: &Hub, device: &str, targets: &[(&str, u16)]) -> Process {
    in_service(&mut agent_command(sandbox, hub, device, targets))
}

pub fn agent_command(sandbox: &Sandbox, hub: &Hub, device: &str, targets: &[(&str, u16)]) -> Command {
    let mut command = sandbox.iotstream();
    command.args(["agent", "-vv", "--connection-string-file"]).arg(hub.device_file(device));
    command.arg("--ca-file").arg(hub.dir.join("ca.pem"));
    for (stream, port) in targets {
        command.arg("--target").arg(format!("{stream}=127.0.0.1:{port}"));
    }
    command
}

/// The same with the rest of a configuration file: targets, limits.
pub fn agent_with_config(sandbox: &Sandbox, hub: &Hub, device: &str, rest: &str) -> Process {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let config = format!(
        "connection-string-file = {}\nca-file = {}\n{rest}",
        quoted(&hub.device_file(device)),
        quoted(&hub.dir.join("ca.pem")),
    );
    let config = sandbox.write("agent.toml", config);
    in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(config))
}

/// Starts an agent, and waits until it is in service.
pub fn in_service(command: &mut Command) -> Process {
    let mut agent = Process::start("agent", command);
    agent.says("in service", 1, LIMIT);
    agent
}

/// A hub, and an agent with the one target `stream` on `port`.
pub fn device_with(stream: &str, port: u16) -> (Process, Hub, Sandbox) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let agent = agent(&sandbox, &hub, DEVICE, &[(stream, port)]);
    (agent, hub, sandbox)
}

/// The same with an echo stream.
pub fn echo_device(stream: &str) -> (Process, Hub, Sandbox) {
    let port = serve(|stream| {
        // A client that disconnects ends the copy, which closes the connection.
        let _ = io::copy(&mut &stream, &mut &stream);
    });
    device_with(stream, port)
}
