//! A failure has an exit status, a message on stderr, and for ssh a message in band.

use std::io::{Read, Write};
use std::net::Shutdown;

use windows_tests::pipe::Pipes;

use crate::support::{DEVICE, Finished, Host, Hub, Iotstream, LIMIT, Sandbox, agent, closed_port, serve};

const SSH: &str = "SSH-2.0-OpenSSH_for_Windows_9.8\r\n";

/// Runs a command line to its end. The caller says what an ssh client says first, and keeps stdin open.
fn run(command: &Iotstream) -> Finished {
    let mut program = command.start();
    program.say(SSH);
    let stdin = program.stdin.take();
    let done = program.finish(LIMIT);
    drop(stdin);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    done
}

/// Expects this status, this text on stderr, and the same error in ssh's disconnect message.
#[track_caller]
fn reported(command: &Iotstream, status: u32, text: &str) {
    for pipes in [Pipes::Overlapped, Pipes::Anonymous] {
        let done = run(&command.clone().pipes(pipes));
        assert_eq!(done.status, status, "{pipes:?}: {}", done.stderr);
        let error = done.stderr.lines().next().unwrap_or_default();
        assert!(error.starts_with("iotstream: error: ") && done.stderr.contains(text), "{}", done.stderr);
        let (banner, disconnect) = done.stdout.split_at_checked(19).expect("a message in band");
        assert_eq!(banner, b"SSH-2.0-iotstream\r\n");
        // RFC 4253, sections 6 and 11.1: length, padding, SSH_MSG_DISCONNECT.
        let length = u32::from_be_bytes(disconnect[..4].try_into().unwrap());
        assert_eq!((length as usize, disconnect[5]), (disconnect.len() - 4, 1));
        assert!(String::from_utf8_lossy(disconnect).contains(text), "{disconnect:?}");
    }
}

#[test]
fn what_the_hub_refuses_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE, "no-target"]);
    let nothing = [format!("other=127.0.0.1:{}", closed_port())];
    let _agent = agent(Host::Linux, &sandbox, &hub, "no-target", &nothing);
    let timeout = ["--connect-timeout", "1s"];
    for (device, text) in [(DEVICE, "404103"), ("unknown", "404001"), ("no-target", "reject")] {
        reported(&hub.helper(&sandbox, &[&timeout[..], &[device]].concat()), 69, text);
    }
}

#[test]
fn a_network_error_is_reported() {
    let sandbox = Sandbox::new();
    let profile = |address: &str| {
        let string = format!("HostName={address};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==");
        let text = format!("default = \"own\"\n[profile.own]\nconnection-string = \"{string}\"\n");
        let profiles = sandbox.write("own.toml", text);
        Iotstream::new(&sandbox, &["--config", profiles.to_str().unwrap(), DEVICE])
    };
    reported(&profile(&format!("127.0.0.1:{}", closed_port())), 75, "tcp");
    let speaks_no_tls = serve(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"220 this is another protocol\r\n");
    });
    reported(&profile(&format!("127.0.0.1:{speaks_no_tls}")), 75, "does not speak TLS");
}

#[test]
fn a_hub_that_breaks_the_protocol_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE, "--inject", "hub=garbage"]);
    reported(&hub.helper(&sandbox, &[DEVICE]), 76, "broke the protocol");
}

#[test]
fn what_is_not_trusted_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let profile = |string: &str, more: &str| {
        let text = format!("default = \"own\"\n[profile.own]\nconnection-string = '{string}'\n{more}");
        let profiles = sandbox.write("own.toml", text);
        Iotstream::new(&sandbox, &["--config", profiles.to_str().unwrap(), DEVICE])
    };
    reported(&profile(&hub.service_connection_string(), ""), 77, "not trusted");
    let wrong = format!("HostName={};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==", hub.name());
    reported(&profile(&wrong, &format!("ca-file = '{}'\n", hub.ca_file())), 77, "401");
}

#[test]
fn a_wrong_configuration_is_reported() {
    let sandbox = Sandbox::new();
    reported(&Iotstream::new(&sandbox, &[DEVICE]), 78, "there is no profile file at");
    let profiles = sandbox.write("own.toml", "[profile.own\n");
    reported(&Iotstream::new(&sandbox, &["--config", profiles.to_str().unwrap(), DEVICE]), 78, "own.toml");
}

#[test]
fn a_server_that_disconnects_at_once_is_reported() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let port = serve(|mut stream| {
        stream.read_exact(&mut vec![0; SSH.len()]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let _agent = agent(Host::Linux, &sandbox, &hub, DEVICE, &[format!("ssh=127.0.0.1:{port}")]);
    reported(&hub.helper(&sandbox, &[DEVICE]), 75, "before the first byte");
}

#[test]
fn another_protocol_gets_nothing_in_band() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    let done = hub.helper(&sandbox, &["--connect-timeout", "1s", DEVICE]).finish("GET / HTTP/1.1\r\n");
    assert_eq!((done.status, &*done.stdout), (69, &b""[..]), "{}", done.stderr);
}

#[test]
fn a_wrong_command_line_is_reported() {
    let sandbox = Sandbox::new();
    for arguments in [&["--nothing"][..], &["dev-1", "no-port"], &["emulator"], &["a", "22", "b"]] {
        let done = Iotstream::new(&sandbox, arguments).finish("");
        assert_eq!((done.status, &*done.stdout), (2, &b""[..]), "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.starts_with("iotstream: error: "), "{}", done.stderr);
    }
}

#[test]
fn the_last_failure_is_shown() {
    let sandbox = Sandbox::new();
    let last = || Iotstream::new(&sandbox, &["last"]).finish("");
    assert_eq!(last().status, 1, "nothing has failed yet");
    let hub = Hub::start(Host::Linux, &sandbox, &["--device", DEVICE]);
    assert_eq!(run(&hub.helper(&sandbox, &["--connect-timeout", "1s", DEVICE])).status, 69);
    let record = last().succeeded();
    for expected in ["host: dev-1", "404103", "hint: ", "exit status: 69", "tls: localhost:"] {
        assert!(record.text().contains(expected), "'{expected}' is not in {}", record.text());
    }
    assert!(sandbox.home(r"AppData\Local\iotstream\state").is_dir());
}
