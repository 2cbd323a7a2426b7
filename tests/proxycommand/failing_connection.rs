use std::io;
use std::net::Shutdown;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{
    DEVICE, Hub, Process, Sandbox, SshFiles, agent, closed_port, iotstream, need, serve, ssh_config,
};

/// A user's ssh configuration with which every connection to a device fails.
pub struct FailingConnection {
    /// The device that the user connects to.
    pub device: &'static str,
    // In the order in which they end: the directory last.
    agent: Option<Process>,
    hub: Option<Hub>,
    config: PathBuf,
    pub sandbox: Sandbox,
}

/// The port of the agent's `ssh` target; without one there is no agent.
type Target = Option<fn() -> u16>;

impl FailingConnection {
    fn with_hub(device: &'static str, faults: &[&str], target: Target) -> Self {
        let sandbox = Sandbox::new();
        let faults = faults.iter().flat_map(|fault| ["--inject", fault]);
        let hub = Hub::start(&sandbox, &["--device", DEVICE].into_iter().chain(faults).collect::<Vec<_>>());
        let agent = target.map(|port| agent(&sandbox, &hub, DEVICE, &[("ssh", port())]));
        let config = config(&sandbox, hub.dir.join("profiles.toml"));
        Self { device, agent, hub: Some(hub), config, sandbox }
    }

    fn with_profile(make: impl FnOnce(&Sandbox) -> (Option<Hub>, String)) -> Self {
        let sandbox = Sandbox::new();
        let (hub, profile) = make(&sandbox);
        let profiles = sandbox
            .write("own.toml", format!("default = \"own\"\n[profile.own]\nconnection-string = {profile}\n"));
        let config = config(&sandbox, profiles);
        Self { device: DEVICE, agent: None, hub, config, sandbox }
    }

    pub fn device_offline() -> Self {
        Self::with_hub(DEVICE, &[], None)
    }

    pub fn unknown_device() -> Self {
        Self::with_hub("dev-2", &[], None)
    }

    pub fn rejected() -> Self {
        Self::with_hub(DEVICE, &[], Some(closed_port))
    }

    pub fn wrong_key() -> Self {
        Self::with_profile(|sandbox| {
            let hub = Hub::start(sandbox, &["--device", DEVICE]);
            let profile = format!(
                "\"HostName={};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==\"\nca-file = {:?}",
                hub.https,
                hub.dir.join("ca.pem"),
            );
            (Some(hub), profile)
        })
    }

    pub fn hub_unreachable() -> Self {
        Self::with_profile(|_| {
            let target = format!("127.0.0.1:{}", closed_port());
            (None, format!("\"HostName={target};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==\""))
        })
    }

    pub fn tls_not_trusted() -> Self {
        Self::with_profile(|sandbox| {
            let hub = Hub::start(sandbox, &["--device", DEVICE]);
            let profile = format!("{:?}", hub.service_connection_string());
            (Some(hub), profile)
        })
    }

    pub fn gateway_refuses() -> Self {
        Self::with_hub(DEVICE, &["gateway=401"], Some(|| serve(drop)))
    }

    pub fn throttled() -> Self {
        Self::with_hub(DEVICE, &["status=429"], None)
    }

    /// The device's own ssh server ends the connection at once.
    pub fn server_hangs_up() -> Self {
        let hangs_up = || {
            serve(|mut stream| {
                stream.shutdown(Shutdown::Write).unwrap();
                // Unread bytes would make the end a reset.
                let _ = io::copy(&mut stream, &mut io::sink());
            })
        };
        Self::with_hub(DEVICE, &[], Some(hangs_up))
    }

    /// What lives as long as the test.
    pub fn residents(&self) -> Vec<&Process> {
        self.agent.iter().chain(self.hub.iter().map(|hub| &hub.process)).collect()
    }

    /// A program of OpenSSH's, with the default log level.
    pub fn openssh(&self, program: &str) -> Command {
        let mut command = self.sandbox.command(need(program));
        command.arg("-F").arg(&self.config).args(["-o", "LogLevel=INFO", "-o", "BatchMode=yes"]);
        command
    }

    /// A program that runs ssh itself, as `variable` says.
    pub fn over_ssh(&self, program: &str, variable: &str) -> Command {
        let ssh = format!("{} -F {} -o LogLevel=INFO", need("ssh").display(), self.config.display());
        let mut command = self.sandbox.command(need(program));
        command.env(variable, ssh);
        command
    }
}

fn config(sandbox: &Sandbox, profiles: PathBuf) -> PathBuf {
    let helper = format!("{} --config {} --connect-timeout 1s %h %p", iotstream(), profiles.display());
    ssh_config(sandbox, &SshFiles::make(sandbox), "ssh_config", &helper)
}
