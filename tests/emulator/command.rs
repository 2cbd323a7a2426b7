//! The command: what it prints, when it ends, and with which exit status.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

fn emulator(dir: &std::path::Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_iotstream"))
        .args(["emulator", "--mqtt-listen", "127.0.0.1:0", "--dir"])
        .arg(dir)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn says_that_it_is_ready_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new");
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut child = emulator(&dir, &["--listen", "127.0.0.1:0", "--device", "gw-07", "gw-07/mod"]);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let (https, mqtts) =
            line.strip_prefix("ready https=127.0.0.1:").unwrap().split_once(" mqtts=127.0.0.1:").unwrap();
        assert!(https.parse::<u16>().is_ok() && mqtts.trim_end().parse::<u16>().is_ok(), "{line}");
        for file in ["service.conn", "profiles.toml", "devices/gw-07.conn", "devices/gw-07%2Fmod.conn"] {
            let mode = std::fs::metadata(dir.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let service = std::fs::read_to_string(dir.join("service.conn")).unwrap();
        assert!(service.starts_with(&format!("HostName=localhost:{https};SharedAccessKeyName=service;")));

        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, signal).unwrap();
        assert!(child.wait().unwrap().success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn says_why_it_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, status, text) in [
        (&["--listen", &taken][..], 74, "listening on 127.0.0.1:"),
        (&["--listen", "127.0.0.1:0", "--inject", "x=1"], 2, "there are latency="),
        (&["--listen", "127.0.0.1:0", "--device", "a b"], 2, "--device 'a b'"),
        (&["--listen", "127.0.0.1:0", "--device", "a;b"], 78, "';'"),
        (&["--listen", "127.0.0.1:0", "--hostname", "a:1"], 2, "'a:1'"),
    ] {
        let output = emulator(dir.path(), arguments).wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{stderr}");
        assert!(stderr.contains(text), "{stderr}");
    }
}
