use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::sas::field;
use super::{DEVICE, Hub, LIMIT, Process, Sandbox, in_service};

/// A namespace of Azure Relay with the hybrid connection `DEVICE`: the emulator, or another with the same files.
pub struct Namespace {
    pub process: Process,
    pub dir: PathBuf,
}

impl Namespace {
    /// Starts the emulator; `args` are further arguments: faults.
    pub fn emulator(sandbox: &Sandbox, args: &[&str]) -> Self {
        let Hub { process, dir, .. } = Hub::start(sandbox, &[&["--relay-entity", DEVICE], args].concat());
        Self { process, dir }
    }

    /// A namespace that was started with its files in `dir`, once it is ready.
    pub fn ready(mut process: Process, dir: PathBuf) -> Self {
        process.says("ready relay=", 1, LIMIT);
        Self { process, dir }
    }

    /// Stops it in an orderly manner.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ends(LIMIT);
        assert!(status.success(), "{status}: {}", self.process.stderr());
    }

    /// The helper with the namespace's profile.
    pub fn helper(&self, sandbox: &Sandbox) -> Command {
        let mut command = sandbox.iotstream();
        command.arg("--config").arg(self.dir.join("profiles.toml")).args(["--profile", "relay"]);
        command
    }

    /// Adds a line to that profile.
    pub fn configure(&self, line: &str) {
        configure_relay(&self.dir, line);
    }

    /// `iotstream agent` for `DEVICE`, in service, with a loopback port as the target of each stream.
    pub fn agent(&self, sandbox: &Sandbox, targets: &[(&str, u16)]) -> Process {
        relay_agent(sandbox, &self.dir, targets)
    }

    /// The same with the rest of a configuration file.
    pub fn agent_with_config(&self, sandbox: &Sandbox, rest: &str) -> Process {
        relay_agent_with_config(sandbox, &self.dir, rest)
    }

    /// Every key of the namespace's connection strings.
    pub fn keys(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.join("relay")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| field(&fs::read_to_string(path).unwrap(), "SharedAccessKey").to_owned()).collect()
    }
}

/// Adds a line to the profile `relay` of the namespace whose files are in `dir`.
pub fn configure_relay(dir: &Path, line: &str) {
    let file = dir.join("profiles.toml");
    let text = fs::read_to_string(&file).unwrap();
    let header = "[profile.relay]\n";
    assert!(text.contains(header), "{text}");
    fs::write(file, text.replace(header, &format!("{header}{line}\n"))).unwrap();
}

/// The connection string file for listening on `DEVICE`, of the namespace whose files are in `dir`.
fn listen_file(dir: &Path) -> PathBuf {
    dir.join("relay").join(format!("{DEVICE}.listen.conn"))
}

/// `iotstream agent` for `DEVICE`, in service, with a loopback port as the target of each stream.
pub fn relay_agent(sandbox: &Sandbox, dir: &Path, targets: &[(&str, u16)]) -> Process {
    let mut command = sandbox.iotstream();
    command.args(["agent", "-vv", "--connection-string-file"]).arg(listen_file(dir));
    command.arg("--ca-file").arg(dir.join("ca.pem"));
    for (stream, port) in targets {
        command.arg("--target").arg(format!("{stream}=127.0.0.1:{port}"));
    }
    in_service(&mut command)
}

/// The same with the rest of a configuration file: targets, settings of the relay.
pub fn relay_agent_with_config(sandbox: &Sandbox, dir: &Path, rest: &str) -> Process {
    let config = format!(
        "connection-string-file = {:?}\nca-file = {:?}\n{rest}",
        listen_file(dir),
        dir.join("ca.pem")
    );
    let config = sandbox.write("agent.toml", config);
    in_service(sandbox.iotstream().args(["agent", "-vv", "--config"]).arg(config))
}
