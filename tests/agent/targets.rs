//! Targets other than a TCP port.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::{ask, event};
use crate::support::{
    DEVICE, Hub, LIMIT, Sandbox, Stdin, Testbed, agent_with_config, closed_port, finish, run, serve,
    serve_unix,
};

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

/// A server whose connections say `word` and end.
fn says(word: &'static str) -> u16 {
    serve(move |mut stream| drop(stream.write_all(word.as_bytes())))
}

#[test]
fn a_target_may_cover_the_ports_of_its_streams() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let (web, other, closed) = (says("web"), says("other"), closed_port());
    let socket = sandbox.path("next.sock");
    serve_unix(&socket, |mut stream| drop(stream.write_all(b"the next")));
    let targets = format!(
        "audit-log = \"audit.log\"\n\
         [[target]]\nstream = \"tcp-*\"\nports = [\"{web}\", \"{closed}\"]\nconnect = \"127.0.0.1:{{port}}\"\n\
         [[target]]\nstream = \"tcp-*\"\nconnect = [\"127.0.0.1:{closed}\", \"{}\"]\n",
        socket.display()
    );
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &targets);
    let stream = |port| format!("tcp-{port}");
    assert_eq!(ask(&sandbox, &hub, &stream(web), "").succeeded().text(), "web");
    assert_eq!(ask(&sandbox, &hub, &stream(other), "").succeeded().text(), "the next");
    assert_eq!(ask(&sandbox, &hub, &format!("tcp-0{web}"), "").succeeded().text(), "the next");
    assert_eq!(ask(&sandbox, &hub, &stream(closed), "").status.code(), Some(69));

    let target = |port, what| event(&sandbox, &stream(port), what)["target"].as_str().map(str::to_owned);
    assert_eq!(target(web, "accepted"), Some(format!("127.0.0.1:{web}")));
    assert_eq!(target(other, "accepted"), Some(socket.display().to_string()));
    let reason = event(&sandbox, &stream(closed), "rejected")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with(&format!("target 127.0.0.1:{closed}: Connection refused")), "{reason}");
}

#[test]
fn each_server_of_a_target_that_is_down_is_named() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let closed = closed_port();
    let targets = format!(
        "audit-log = \"audit.log\"\n\
         [[target]]\nstream = \"db\"\nconnect = [\"127.0.0.1:{closed}\", \"/no/such.sock\"]\n"
    );
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &targets);
    assert_eq!(ask(&sandbox, &hub, "db", "").status.code(), Some(69));
    let reason = event(&sandbox, "db", "rejected")["reason"].as_str().unwrap().to_owned();
    for part in [&format!("127.0.0.1:{closed}: Connection refused"), "; /no/such.sock: No such file"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_check_names_the_server_that_answers_and_tries_no_port_of_many() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let (up, closed) = (says("x"), closed_port());
    let config = format!(
        "connection-string-file = {:?}\nca-file = {:?}\n\
         [[target]]\nstream = \"tcp-*\"\nports = [\"80\"]\nconnect = \"127.0.0.1:{{port}}\"\n\
         [[target]]\nstream = \"db\"\nconnect = [\"127.0.0.1:{closed}\", \"127.0.0.1:{up}\"]\n",
        hub.device_file(DEVICE),
        hub.dir.join("ca.pem"),
    );
    let config = sandbox.write("agent.toml", config);
    let mut check = sandbox.iotstream();
    let done = finish(check.args(["agent", "--check", "--json", "--config"]).arg(config)).succeeded();
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&done.stdout).unwrap();
    let found =
        findings.iter().filter_map(|finding| Some((finding["check"].as_str()?, finding["detail"].as_str()?)));
    let targets: Vec<_> = found.filter(|(check, _)| check.starts_with("target ")).collect();
    let answers = format!("127.0.0.1:{up}, approve always");
    assert_eq!(
        targets,
        [("target tcp-* (80)", "127.0.0.1:{port}, not tried, approve always"), ("target db", &answers)]
    );
}
