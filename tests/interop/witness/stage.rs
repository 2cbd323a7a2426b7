//! What the tests put together: a hub (ours or the witness), a device, a service, TCP targets.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use super::process::{Finished, Process};
use super::python::witness;

pub const DEVICE: &str = "dev-1";
pub const MEBIBYTE: usize = 1 << 20;

/// A hub on loopback with its files in a directory of its own.
#[derive(Debug)]
pub struct Hub {
    process: Process,
    directory: TempDir,
    mqtt_port: String,
}

impl Hub {
    /// The emulator under test.
    pub fn emulator(devices: &[&str]) -> Self {
        let mut command = iotstream();
        command.args(["emulator", "--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"]);
        Self::start("iotstream emulator", command, devices)
    }

    /// The witness, which counts what its callers do wrong.
    pub fn witness(devices: &[&str], manner: &[&str]) -> Self {
        let mut command = witness("hub.py");
        command.args(manner);
        Self::start("hub.py", command, devices)
    }

    fn start(name: &str, mut command: Command, devices: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        command.arg("--dir").arg(directory.path()).arg("--device").args(devices);
        let mut process = Process::start(name, &mut command);
        let ready = process.ready();
        let mqtt_port = ready.rsplit(':').next().expect("a ready line ends in a port").to_owned();
        Self { process, directory, mqtt_port }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// That of a plainly named device or module, or the one file in `devices`: how odd names are encoded is the hub's
    /// business.
    fn connection_file(&self, device: &str) -> PathBuf {
        let plain = self.path("devices").join(format!("{}.conn", device.replace('/', "%2F")));
        if plain.exists() {
            return plain;
        }
        let mut files = fs::read_dir(self.path("devices")).expect("devices is a directory");
        let only = files.next().expect("devices has a file").expect("it can be read").path();
        assert!(files.next().is_none(), "{device} cannot be told from others by its file's name");
        only
    }

    /// Starts the Python device; it is ready for offers.
    pub fn device(&self, device: &str, options: &[&str]) -> Process {
        let mut command = witness("device.py");
        self.identify(&mut command, &self.connection_file(device));
        let mut process =
            Process::start("device.py", command.args(["--mqtt-port", &self.mqtt_port]).args(options));
        process.ready();
        process
    }

    /// Starts the agent under test. It may still be connecting: the hub waits for it.
    pub fn agent(&self, device: &str, targets: &[(&str, u16)]) -> Process {
        let mut command = iotstream();
        command.arg("agent");
        self.identify(&mut command, &self.connection_file(device));
        for (stream, port) in targets {
            command.arg("--target").arg(format!("{stream}=127.0.0.1:{port}"));
        }
        Process::start("iotstream agent", &mut command)
    }

    /// Runs the Python service to its end.
    pub fn service(&self, device: &str, stream: &str, options: &[&str]) -> Finished {
        self.service_as(&self.path("service.conn"), device, stream, options)
    }

    pub fn service_as(&self, connection: &Path, device: &str, stream: &str, options: &[&str]) -> Finished {
        let mut command = witness("service.py");
        self.identify(&mut command, connection);
        command.args(["--device", device, "--stream", stream]).args(options);
        Process::start("service.py", &mut command).finish()
    }

    /// Starts the client under test as ssh would. It waits long for a device that is still connecting.
    pub fn client(&self, device: &str, options: &[&str]) -> Process {
        let mut command = iotstream();
        command.env("IOTSTREAM_CONNECT_TIMEOUT", "60s").arg("--config").arg(self.path("profiles.toml"));
        Process::start("iotstream", command.args(options).arg(device))
    }

    /// Ends the hub; the witness must have seen nothing wrong.
    pub fn end(self) {
        let finished = self.process.terminate();
        assert!(finished.status == 0, "the hub ended with {}:\n{}", finished.status, finished.stderr);
    }

    fn identify(&self, command: &mut Command, connection: &Path) {
        command.arg("--connection-string-file").arg(connection);
        command.arg("--ca-file").arg(self.path("ca.pem"));
    }
}

/// The binary under test, deaf to the caller's profiles, proxies and settings.
fn iotstream() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iotstream"));
    command.env_clear().env("HOME", env!("CARGO_TARGET_TMPDIR"));
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

pub fn random(size: usize) -> Vec<u8> {
    let mut data = vec![0; size];
    getrandom::fill(&mut data).expect("the system has random bytes");
    data
}

/// Sends data through a client whose far end echoes, and wants it back, whole, before stdin ends.
pub fn assert_echo(mut client: Process, data: &[u8]) {
    let writing = client.write(data.to_owned());
    let echoed = client.read(data.len());
    assert!(echoed == data, "{} bytes came back of {}, or not the same", echoed.len(), data.len());
    drop(writing.recv()); // stdin ends here
    let finished = client.finish();
    assert!(finished.status == 0, "exit {}:\n{}", finished.status, finished.stderr);
    assert!(finished.stdout.is_empty(), "{} bytes came after the echo", finished.stdout.len());
}

/// A TCP server that does `serve` with each connection; lives as long as the test process.
pub fn tcp_target(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Copy + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            // A peer that leaves early is the business of the test, not of the target.
            thread::spawn(move || connection.and_then(serve));
        }
    });
    port
}

pub fn echo(mut connection: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return connection.shutdown(Shutdown::Write);
        }
        connection.write_all(&buffer[..count])?;
    }
}

/// Speaks first, as sshd does, then waits for its peer.
pub fn banner(mut connection: TcpStream) -> std::io::Result<()> {
    connection.write_all(b"SSH-2.0-target\r\n")?;
    std::io::copy(&mut connection, &mut std::io::sink()).map(drop)
}

/// Says one mebibyte of `x` and hangs up.
pub fn farewell(mut connection: TcpStream) -> std::io::Result<()> {
    connection.write_all(&vec![b'x'; MEBIBYTE])
}
