//! A hub, ours or the witness, and the devices and services that it brings together.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::python::witness;
use crate::support::{Finished, Hub, Process, Sandbox, agent_command};

/// How long anything may take before the test gives up: generous, for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub const MEBIBYTE: usize = 1 << 20;

pub struct Peers {
    hub: Hub,
    sandbox: Sandbox,
}

impl Peers {
    /// With the emulator under test.
    pub fn at_emulator(devices: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &[&["--device"], devices].concat());
        Self { hub, sandbox }
    }

    /// With the Python hub, which counts the mistakes of its clients.
    pub fn at_witness(devices: &[&str], options: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let dir = sandbox.path("hub");
        fs::create_dir(&dir).unwrap();
        let mut command = witness(&sandbox, "hub.py");
        command.args(options).arg("--dir").arg(&dir).arg("--device").args(devices);
        let hub = Hub::ready(Process::start("hub.py", &mut command), dir);
        Self { hub, sandbox }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.hub.dir.join(name)
    }

    /// Adds a line to the client's profile.
    pub fn set_in_profile(&self, line: &str) {
        let path = self.path("profiles.toml");
        let profile = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{}\n{line}\n", profile.trim_end())).unwrap();
    }

    /// The connection string file of a device or module. With a name that has to be encoded, it is the only file in
    /// `devices`: the encoding is up to the hub.
    fn connection_file(&self, device: &str) -> PathBuf {
        let plain = self.hub.device_file(&device.replace('/', "%2F"));
        if plain.exists() {
            return plain;
        }
        let files = fs::read_dir(self.path("devices")).unwrap().map(|file| file.unwrap().path());
        let mut files = files.filter(|path| path.extension() == Some("conn".as_ref()));
        let only = files.next().unwrap();
        assert!(files.next().is_none(), "{device} cannot be told from others by its file's name");
        only
    }

    /// Starts the Python device, and waits until it is ready for offers.
    pub fn device(&self, device: &str, options: &[&str]) -> Process {
        let mut command = witness(&self.sandbox, "device.py");
        self.identify(&mut command, &self.connection_file(device));
        let (_, mqtt_port) = self.hub.mqtts.rsplit_once(':').unwrap();
        command.args(["--mqtt-port", mqtt_port]).args(options);
        let mut process = Process::start("device.py", &mut command);
        process.says("ready", 1, PATIENCE);
        process
    }

    /// Starts the agent under test. It may still be connecting: the hub waits for it.
    pub fn agent(&self, device: &str, targets: &[(&str, u16)]) -> Process {
        let file = self.connection_file(device);
        let device = file.file_stem().unwrap().to_str().unwrap();
        Process::start("agent", &mut agent_command(&self.sandbox, &self.hub, device, targets))
    }

    /// Runs the Python service to its end.
    pub fn service(&self, device: &str, stream: &str, options: &[&str]) -> Finished {
        self.service_as(&self.path("service.conn"), device, stream, options)
    }

    pub fn service_as(&self, connection: &Path, device: &str, stream: &str, options: &[&str]) -> Finished {
        let mut command = witness(&self.sandbox, "service.py");
        self.identify(&mut command, connection);
        command.args(["--device", device, "--stream", stream]).args(options);
        Process::start("service.py", &mut command).finish(PATIENCE)
    }

    /// Starts the client under test. It waits long for a device that is still connecting.
    pub fn client(&self, device: &str, options: &[&str]) -> Process {
        let mut command = self.hub.helper(&self.sandbox);
        command.env("IOTSTREAM_CONNECT_TIMEOUT", "60s");
        Process::start("iotstream", command.args(options).arg(device))
    }

    /// Waits for a line of the hub's on stderr.
    pub fn says(&mut self, text: &str) -> String {
        self.hub.process.says(text, 1, PATIENCE)
    }

    /// Ends the hub; the Python hub fails if it has seen a violation.
    pub fn end(mut self) {
        self.hub.stop();
    }

    fn identify(&self, command: &mut Command, connection: &Path) {
        command.arg("--connection-string-file").arg(connection);
        command.arg("--ca-file").arg(self.path("ca.pem"));
    }
}

/// Ends a process with SIGTERM.
pub fn terminate(process: Process) {
    process.signal(Signal::TERM);
    process.finish(PATIENCE);
}

/// Sends data through a client whose device echoes it, and expects all of it back before stdin ends.
pub fn assert_echo(client: Process, data: &[u8]) {
    let finished = finished_echo(client, data);
    assert!(finished.status.success(), "{}:\n{}", finished.status, finished.stderr);
}

/// Sends data through a client whose device echoes it, expects all of it back, and ends stdin.
pub fn finished_echo(mut client: Process, data: &[u8]) -> Finished {
    let writing = client.write(data.to_owned());
    let echoed = client.reads(data.len(), PATIENCE);
    assert!(echoed == data, "{} bytes came back, and not the same", data.len());
    drop(writing.recv()); // stdin ends here
    let finished = client.finish(PATIENCE);
    assert!(finished.stdout.is_empty(), "{} bytes came after the echo", finished.stdout.len());
    finished
}

pub fn echo(mut connection: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    // A peer that disconnects early is found by the test, not by the target.
    while let Ok(count @ 1..) = connection.read(&mut buffer) {
        if connection.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = connection.shutdown(Shutdown::Write);
}

/// Sends first, as sshd does, then waits for its peer.
pub fn banner(mut connection: TcpStream) {
    connection.write_all(b"SSH-2.0-target\r\n").unwrap();
    let _ = io::copy(&mut connection, &mut io::sink());
}

/// Sends one mebibyte of `x` and closes the connection.
pub fn farewell(mut connection: TcpStream) {
    let _ = connection.write_all(&vec![b'x'; MEBIBYTE]);
}
