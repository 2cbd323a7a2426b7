use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Process, Sandbox};

const START: Duration = Duration::from_secs(20);

/// `iotstream emulator`, ready to serve.
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
        let mut process = Process::start(sandbox, "emulator", command.arg(&dir).args(&args));
        let ready = process.says("ready https=", 1, START);
        let (https, mqtts) = ready
            .strip_prefix("ready https=")
            .and_then(|rest| rest.split_once(" mqtts="))
            .unwrap_or_else(|| panic!("not the line that scripts wait for: {ready}"));
        let (https, mqtts) = (https.to_owned(), mqtts.to_owned());
        assert_eq!(process.stdout(), format!("{ready}\n"), "the ready line is all that goes to stdout");
        Self { process, dir, https, mqtts, args }
    }

    /// Kills it and starts it again in the same place.
    pub fn restart(&mut self, sandbox: &Sandbox) {
        self.process.kill();
        *self = Self::start_at(sandbox, self.args.clone(), &self.https, &self.mqtts);
    }

    /// The port of HTTPS.
    pub fn port(&self) -> &str {
        self.https.rsplit_once(':').unwrap().1
    }

    /// Its host name, as connection strings have it.
    pub fn name(&self) -> String {
        format!("localhost:{}", self.port())
    }

    pub fn device_file(&self, device: &str) -> PathBuf {
        self.dir.join("devices").join(format!("{device}.conn"))
    }

    /// The helper, with the hub's own profile.
    pub fn helper(&self, sandbox: &Sandbox) -> Command {
        let mut command = sandbox.iotstream();
        command.arg("--config").arg(self.dir.join("profiles.toml"));
        command
    }

    /// Every key of the hub's connection strings.
    pub fn keys(&self) -> Vec<String> {
        let devices = fs::read_dir(self.dir.join("devices")).unwrap().map(|entry| entry.unwrap().path());
        let files = devices.chain([self.dir.join("service.conn")]);
        files.map(|path| key(&fs::read_to_string(path).unwrap())).collect()
    }

    pub fn service_connection_string(&self) -> String {
        fs::read_to_string(self.dir.join("service.conn")).unwrap().trim().to_owned()
    }
}

fn key(connection_string: &str) -> String {
    let (_, key) = connection_string.trim().split_once("SharedAccessKey=").unwrap();
    key.split(';').next().unwrap().to_owned()
}
