//! Targets other than a TCP port.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::{DEVICE, LIMIT, Stdin, Testbed, agent_with_config, run, serve_unix};

#[test]
fn a_target_may_be_a_unix_socket() {
    let testbed = Testbed::start_with(|sandbox, hub, _, port| {
        let socket = sandbox.path("sshd.socket");
        serve_unix(&socket, move |from_agent| {
            let sshd = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut up, mut down) = (from_agent.try_clone().unwrap(), from_agent);
            let (mut into_sshd, mut out_of_sshd) = (sshd.try_clone().unwrap(), sshd);
            // Either side may disconnect, which ends the copy.
            let forth = thread::spawn(move || {
                let _ = io::copy(&mut up, &mut into_sshd);
                let _ = into_sshd.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut out_of_sshd, &mut down);
            let _ = down.shutdown(Shutdown::Both);
            forth.join().unwrap();
        });
        let target = format!("[[target]]\nstream = \"ssh\"\nconnect = \"{}\"\n", socket.display());
        agent_with_config(sandbox, hub, DEVICE, &target)
    });
    let done = run(testbed.openssh("ssh").args([DEVICE, "cat"]), Stdin::Ends(b"x"), LIMIT).succeeded();
    assert_eq!(done.text(), "x");
}

#[test]
fn a_target_may_be_a_command() {
    let testbed = Testbed::start_with(|sandbox, hub, files, _| {
        let (sshd, config) = (files.sshd.display(), files.config.display());
        let target =
            format!("[[target]]\nstream = \"ssh\"\ncommand = [\"{sshd}\", \"-i\", \"-f\", \"{config}\"]\n");
        agent_with_config(sandbox, hub, DEVICE, &target)
    });
    let done = run(testbed.openssh("ssh").args([DEVICE, "cat; exit 7"]), Stdin::Ends(b"x"), LIMIT);
    assert_eq!((done.status.code(), done.text()), (Some(7), "x"), "{}", done.stderr);
    testbed.sandbox.leaves_only(Duration::from_secs(5), &testbed.residents());
}
