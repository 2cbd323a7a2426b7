use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::sas::field;
use super::{LIMIT, Process, Sandbox};

/// A hub that is ready to serve: `iotstream emulator`, or another with the same files and ready line.
pub struct Hub {
    pub process: Process,
    pub dir: PathBuf,
    /// HOST:PORT of HTTPS and of MQTT.
    pub https: String,
    pub mqtts: String,
    args: Vec<String>,
}

impl Hub {
    /// Starts one on free ports; `args` are further arguments: devices, faults.
    pub fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let any = "127.0.0.1:0".to_owned();
        Self::start_at(sandbox, args, &any, &any)
    }

    fn start_at(sandbox: &Sandbox, args: Vec<String>, https: &str, mqtts: &str) -> Self {
        let dir = sandbox.path("hub");
        fs::create_dir_all(&dir).unwrap();
        let mut command = sandbox.iotstream();
        command.args(["emulator", "-vv", "--listen", https, "--mqtt-listen", mqtts, "--dir"]);
        let process = Process::start("emulator", command.arg(&dir).args(&args));
        Self { args, ..Self::ready(process, dir) }
    }

    /// A hub that was started with its files in `dir`, once it is ready.
    pub fn ready(mut process: Process, dir: PathBuf) -> Self {
        let ready = process.says("ready https=", 1, LIMIT);
        let (https, mqtts) = ready
            .strip_prefix("ready https=")
            .and_then(|rest| rest.split_once(" mqtts="))
            .unwrap_or_else(|| panic!("not the line that scripts wait for: {ready}"));
        let (https, mqtts) = (https.to_owned(), mqtts.to_owned());
        assert_eq!(process.stdout(), format!("{ready}\n"), "the ready line is all that goes to stdout");
        Self { process, dir, https, mqtts, args: Vec::new() }
    }

    /// Stops it in an orderly manner.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.ends(LIMIT);
        assert!(status.success(), "{status}: {}", self.process.stderr());
    }

    /// Kills it and starts it again on the same ports.
    pub fn restart(&mut self, sandbox: &Sandbox) {
        self.process.kill();
        *self = Self::start_at(sandbox, self.args.clone(), &self.https, &self.mqtts);
    }

    /// The same with further arguments.
    pub fn restart_with(&mut self, sandbox: &Sandbox, more: &[&str]) {
        self.args.extend(more.iter().map(|&arg| arg.to_owned()));
        self.restart(sandbox);
    }

    /// The port of HTTPS.
    pub fn port(&self) -> &str {
        self.https.rsplit_once(':').unwrap().1
    }

    /// Its host name and port, as in connection strings.
    pub fn name(&self) -> String {
        format!("localhost:{}", self.port())
    }

    pub fn device_file(&self, device: &str) -> PathBuf {
        self.dir.join("devices").join(format!("{device}.conn"))
    }

    /// The helper with the hub's profile.
    pub fn helper(&self, sandbox: &Sandbox) -> Command {
        let mut command = sandbox.iotstream();
        command.arg("--config").arg(self.dir.join("profiles.toml"));
        command
    }

    /// Every key of the hub's connection strings.
    pub fn keys(&self) -> Vec<String> {
        let devices = fs::read_dir(self.dir.join("devices")).unwrap().map(|entry| entry.unwrap().path());
        // A device's twin is beside its connection string.
        let devices = devices.filter(|path| path.extension().is_some_and(|found| found == "conn"));
        let files = devices.chain([self.dir.join("service.conn")]);
        files.map(|path| field(&fs::read_to_string(path).unwrap(), "SharedAccessKey").to_owned()).collect()
    }

    pub fn service_connection_string(&self) -> String {
        fs::read_to_string(self.dir.join("service.conn")).unwrap().trim().to_owned()
    }
}
