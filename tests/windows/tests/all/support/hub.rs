use std::fs;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::{Iotstream, LIMIT, LinuxProgram, Program, Sandbox, linux_path, variable};

/// Where a program runs.
#[derive(Clone, Copy)]
pub enum Host {
    Linux,
    Windows,
}

/// A program that runs until this value is dropped.
pub struct Background {
    /// stderr, and on Linux stdout too.
    pub output: Output,
    _program: Running,
}

#[allow(dead_code, reason = "both end with their value")]
enum Running {
    Linux(LinuxProgram),
    Windows(Program),
}

/// Starts iotstream on Linux or on Windows; the paths in its arguments are for that system.
fn start(host: Host, sandbox: &Sandbox, arguments: &[&str]) -> (Background, Output) {
    match host {
        Host::Linux => {
            let words = arguments.iter().map(|&word| word.to_owned());
            let words: Vec<String> = [variable("TEST_LINUX")].into_iter().chain(words).collect();
            let program = LinuxProgram::start(sandbox, &words);
            let output = program.output.clone();
            (Background { output: output.clone(), _program: Running::Linux(program) }, output)
        }
        Host::Windows => {
            let mut program = Iotstream::new(sandbox, arguments).start();
            let stdout = program.stdout();
            (Background { output: program.stderr.clone(), _program: Running::Windows(program) }, stdout)
        }
    }
}

/// A path as a program on `host` names it.
fn path_on(host: Host, path: &Path) -> String {
    match host {
        Host::Linux => linux_path(path),
        Host::Windows => path.to_str().unwrap().to_owned(),
    }
}

/// An emulator that serves.
pub struct Hub {
    pub directory: PathBuf,
    /// HOST:PORT of HTTPS.
    pub https: String,
    _emulator: Background,
}

impl Hub {
    /// Starts one on free ports; `arguments` name its devices.
    pub fn start(host: Host, sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let directory = sandbox.path("the hub");
        fs::create_dir_all(&directory).unwrap();
        let named = path_on(host, &directory);
        let any = "127.0.0.1:0";
        let fixed = ["emulator", "-vv", "--listen", any, "--mqtt-listen", any, "--dir", &named];
        let (emulator, stdout) = start(host, sandbox, &[&fixed, arguments].concat());
        let ready = stdout.says("ready https=", LIMIT);
        let (https, _) =
            ready.strip_prefix("ready https=").and_then(|rest| rest.split_once(" mqtts=")).unwrap();
        Self { directory, https: https.to_owned(), _emulator: emulator }
    }

    /// HOST:PORT as in connection strings.
    pub fn name(&self) -> String {
        self.https.replace("127.0.0.1", "localhost")
    }

    pub fn profiles(&self) -> String {
        self.directory.join("profiles.toml").to_str().unwrap().to_owned()
    }

    pub fn ca_file(&self) -> String {
        self.directory.join("ca.pem").to_str().unwrap().to_owned()
    }

    pub fn service_connection_string(&self) -> String {
        fs::read_to_string(self.directory.join("service.conn")).unwrap().trim().to_owned()
    }

    /// A command of iotstream.exe with this hub's profile.
    pub fn command(&self, sandbox: &Sandbox, name: &str, arguments: &[&str]) -> Iotstream {
        let profiles = self.profiles();
        Iotstream::new(sandbox, &[&[name, "--config", &profiles], arguments].concat())
    }

    /// The helper, as `iotstream connect`.
    pub fn helper(&self, sandbox: &Sandbox, arguments: &[&str]) -> Iotstream {
        self.command(sandbox, "connect", arguments)
    }
}

/// An agent for `device` that serves, with targets in the form of --target.
pub fn agent(host: Host, sandbox: &Sandbox, hub: &Hub, device: &str, targets: &[String]) -> Background {
    agent_with(host, sandbox, hub, &format!("devices/{device}.conn"), targets)
}

/// The same with one of the hub's files as its credential.
pub fn agent_with(
    host: Host,
    sandbox: &Sandbox,
    hub: &Hub,
    credential: &str,
    targets: &[String],
) -> Background {
    let credential = path_on(host, &hub.directory.join(credential));
    let ca_file = path_on(host, &hub.directory.join("ca.pem"));
    let mut arguments = vec!["agent", "-vv", "--connection-string-file", &credential, "--ca-file", &ca_file];
    arguments.extend(targets.iter().flat_map(|target| ["--target", target]));
    let (agent, _) = start(host, sandbox, &arguments);
    agent.output.says("in service", LIMIT);
    agent
}
