//! What the agent reports to systemd.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

use super::{ECHO, SOON};
use crate::support::{DEVICE, Hub, LIMIT, Process, Sandbox};

#[test]
fn systemd_is_notified_of_every_state() {
    notifies(&["agent"]);
}

/// systemd takes notifications from the main process alone.
#[test]
fn systemd_is_notified_by_the_main_process() {
    notifies(&["agent", "--restartable"]);
}

fn notifies(arguments: &[&str]) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let socket = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    set_socket_passcred(&socket, true).unwrap();
    let senders = RefCell::new(BTreeSet::new());
    let heard = |text: &str| {
        let deadline = Instant::now() + SOON;
        let mut all = Vec::new();
        while Instant::now() < deadline {
            let mut block = [0; 4096];
            let (count, sender) =
                receive(&socket, &mut block).unwrap_or_else(|_| panic!("{text} in {all:?}"));
            senders.borrow_mut().insert(sender);
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
    let mut agent = Process::start("agent", command.args(arguments).arg("--config").arg(config));
    heard("STATUS=in service as device dev-1");
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    agent.signal(Signal::HUP);
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    agent.signal(Signal::TERM);
    heard("STOPPING=1");
    assert_eq!(senders.take(), BTreeSet::from([Some(agent.pid())]), "each sender is the main process");
    assert_eq!(agent.ends(LIMIT).code(), Some(0), "{}", agent.stderr());
}

/// Receives a message. Returns its length and the process that sent it.
fn receive(socket: &UnixDatagram, block: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(block)], &mut control, RecvFlags::empty())?;
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => sender.pid.as_raw_nonzero().get().try_into().ok(),
        _ => None,
    });
    Ok((received.bytes, sender))
}
