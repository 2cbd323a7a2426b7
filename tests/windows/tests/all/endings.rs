//! However the caller ends the helper, the device learns of it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{Background, DEVICE, Host, Hub, LIMIT, LinuxProgram, Sandbox, agent, exe, serve};

/// Within this time after the helper's end, its stream has ended at the device.
const SOON: Duration = Duration::from_secs(5);

/// A hub and an agent, and what is said when the target's connection has ended.
fn device(target: fn(&mut TcpStream)) -> (Background, Receiver<()>, Hub, Sandbox) {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let (ended, end) = channel();
    let port = serve(move |mut stream| {
        target(&mut stream);
        let _ = ended.send(());
    });
    let agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{port}")]);
    (agent, end, hub, sandbox)
}

#[test]
fn a_helper_that_is_terminated_leaves_no_stream() {
    let (agent, end, hub, sandbox) = device(|stream| {
        stream.write_all(b"up").unwrap();
        // To the end of the stream, in good order or not.
        let _ = io::copy(stream, &mut io::sink());
    });
    let mut helper = hub.helper(&sandbox, &[DEVICE]).start();
    helper.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    assert!(end.try_recv().is_err(), "the stream is up");
    helper.terminate();
    assert_eq!(helper.ends(LIMIT), 0, "as Win32-OpenSSH ends it");
    end.recv_timeout(SOON).expect("the target's connection ends");
    agent.output.says("stream", LIMIT);
}

#[test]
fn a_helper_that_is_terminated_in_a_transfer_leaves_no_stream() {
    let (_agent, end, hub, sandbox) = device(|stream| {
        // Until the agent disconnects.
        let _ = io::copy(&mut io::repeat(b'x'), stream);
    });
    let mut helper = hub.helper(&sandbox, &[DEVICE]).start();
    helper.stdout.as_mut().unwrap().read_exact(&mut [0; 1 << 20]).unwrap();
    helper.terminate();
    end.recv_timeout(SOON).expect("the target's connection ends");
}

#[test]
fn a_caller_that_closes_both_pipes_leaves_no_helper_and_no_stream() {
    let (_agent, end, hub, sandbox) = device(|stream| {
        stream.write_all(b"up").unwrap();
        let _ = io::copy(stream, &mut io::sink());
    });
    let mut helper = hub.helper(&sandbox, &[DEVICE]).start();
    helper.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    drop((helper.stdin.take(), helper.stdout.take()));
    end.recv_timeout(SOON).expect("the target's connection ends");
    helper.ends(LIMIT);
}

#[test]
fn ctrl_c_on_the_terminal_of_ssh_does_not_end_the_helper() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let _agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &["ssh=builtin:echo".into()]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/terminal.py");
    let line = format!("\"{}\" \"--config={}\" {DEVICE}", exe(), hub.profiles());
    let program = ["python3", script, "wine", env!("CARGO_BIN_EXE_caller"), &line].map(str::to_owned);
    let (status, said) = LinuxProgram::start(&sandbox, &program).finish(LIMIT);
    assert_eq!((status, &*said), (0, ""));
}

#[test]
fn a_caller_that_closes_both_pipes_while_the_device_is_offline_leaves_no_helper() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let mut helper =
        hub.helper(&sandbox, &["-v", "--wait", "10m", "--connect-timeout", "1s", DEVICE]).start();
    // ssh never closes stdin alone.
    helper.say("SSH-2.0-OpenSSH_for_Windows_9.8\r\n");
    helper.stderr.says("; waiting", LIMIT);
    drop((helper.stdin.take(), helper.stdout.take()));
    helper.ends(LIMIT);
}
