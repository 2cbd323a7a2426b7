use std::process::Command;

use rustix::process::Pid;

use super::procfs::Seen;
use super::{Hub, Process, Sandbox, SshFiles, Sshd, agent, iotstream, need, relay_agent, ssh_config};

pub const DEVICE: &str = "dev-1";

/// A hub, a device whose sshd is reached as the streams `ssh` and `tcp-2222`, and a user's ssh configuration.
pub struct Testbed {
    // In the order in which they end: the directory last.
    pub agent: Process,
    pub sshd: Sshd,
    pub hub: Hub,
    pub files: SshFiles,
    pub sandbox: Sandbox,
}

impl Testbed {
    pub fn start() -> Self {
        Self::with_hub(&[])
    }

    /// With further arguments for the hub.
    pub fn with_hub(args: &[&str]) -> Self {
        Self::make(args, |sandbox, hub, _, port| {
            agent(sandbox, hub, DEVICE, &[("ssh", port), ("tcp-2222", port)])
        })
    }

    /// Over Azure Relay, whose hybrid connection has the device's name.
    pub fn over_relay() -> Self {
        Self::over_relay_with(|sandbox, hub, port| relay_agent(sandbox, &hub.dir, &[("ssh", port)]))
    }

    /// The same with another listener, made from the hub and the port of the device's sshd.
    pub fn over_relay_with(listener: impl FnOnce(&Sandbox, &Hub, u16) -> Process) -> Self {
        let testbed =
            Self::make(&["--relay-entity", DEVICE], |sandbox, hub, _, port| listener(sandbox, hub, port));
        testbed.configure("--profile relay");
        testbed
    }

    /// With another agent, made from the hub, the ssh files and the port of the device's sshd.
    pub fn start_with(agent: impl FnOnce(&Sandbox, &Hub, &SshFiles, u16) -> Process) -> Self {
        Self::make(&[], agent)
    }

    /// With further arguments for the hub, and another agent as in [`Self::start_with`].
    pub fn make(hub_args: &[&str], agent: impl FnOnce(&Sandbox, &Hub, &SshFiles, u16) -> Process) -> Self {
        let sandbox = Sandbox::new();
        let files = SshFiles::make(&sandbox);
        let hub = Hub::start(&sandbox, &[&["--device", DEVICE], hub_args].concat());
        let sshd = Sshd::start(&sandbox, &files);
        let agent = agent(&sandbox, &hub, &files, sshd.port);
        let testbed = Self { agent, sshd, hub, files, sandbox };
        testbed.configure("");
        testbed
    }

    /// Gives the helper further options.
    pub fn configure(&self, options: &str) {
        let profiles = self.hub.dir.join("profiles.toml");
        let helper = format!("{} --config {} {options} %h %p", iotstream(), profiles.display());
        ssh_config(&self.sandbox, &self.files, "ssh_config", &helper);
    }

    /// Starts the agent again.
    pub fn restart_agent(&mut self) {
        self.agent = agent(&self.sandbox, &self.hub, DEVICE, &[("ssh", self.sshd.port)]);
    }

    /// The running helpers.
    pub fn helpers(&self) -> Vec<Seen> {
        let mut seen = self.sandbox.processes(&[]);
        seen.retain(|seen| seen.cmdline.starts_with(&format!("{} --config", iotstream())));
        seen
    }

    /// The one running helper.
    pub fn helper(&self) -> Pid {
        let helpers = self.helpers();
        let [helper] = &helpers[..] else { panic!("not one helper: {helpers:?}") };
        helper.pid()
    }

    /// A program of OpenSSH's with the user's configuration.
    pub fn openssh(&self, program: &str) -> Command {
        let mut command = self.sandbox.command(need(program));
        command.arg("-F").arg(self.sandbox.path("ssh_config"));
        command
    }

    /// A program that runs ssh itself, as `variable` says.
    pub fn over_ssh(&self, program: &str, variable: &str) -> Command {
        let ssh = format!("{} -F {}", need("ssh").display(), self.sandbox.path("ssh_config").display());
        let mut command = self.sandbox.command(need(program));
        command.env(variable, ssh);
        command
    }

    /// The processes that run as long as the testbed.
    pub fn residents(&self) -> [&Process; 3] {
        [&self.agent, &self.sshd.process, &self.hub.process]
    }
}
