//! What the agent reports to systemd.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::Signal;

use super::{ECHO, SOON};
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox};

#[test]
fn systemd_is_notified_of_every_state() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let socket = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let heard = |text: &str| {
        let deadline = Instant::now() + SOON;
        let mut all = Vec::new();
        while Instant::now() < deadline {
            let mut block = [0; 4096];
            let count = socket.recv(&mut block).unwrap_or_else(|_| panic!("{text} in {all:?}"));
            let message = String::from_utf8(block[..count].to_vec()).unwrap();
            if message.lines().any(|line| line.starts_with(text)) {
                return message;
            }
            all.push(message);
        }
        panic!("{text} in {all:?}");
    };
    let (file, ca_file) = (hub.device_file(DEVICE), hub.dir.join("ca.pem"));
    let config = format!("connection-string-file = {file:?}\nca-file = {ca_file:?}\n{ECHO}");
    let config = sandbox.write("agent.toml", config);
    let mut command = sandbox.iotstream();
    command.env("NOTIFY_SOCKET", sandbox.path("notify")).env("WATCHDOG_USEC", "1000000");
    let mut agent = Process::start("agent", command.args(["agent", "--config"]).arg(config));
    heard("STATUS=in service as device dev-1");
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    agent.signal(Signal::HUP);
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    agent.signal(Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(agent.ends(LIMIT).code(), Some(0), "{}", agent.stderr());
}
