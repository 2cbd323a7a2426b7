//! An audit log that cannot be written: the device stays reachable, and no line is ever written in part.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::{SOON, ask, event, events};
use crate::support::{
    DEVICE, EchoStream, Hub, LIMIT, Process, Sandbox, Stdin, eventually, in_service, iotstream, need, run,
};

const ECHO: &str = "[[target]]\nstream = \"*\"\nbuiltin = \"echo\"\n";

fn config(sandbox: &Sandbox, hub: &Hub, audit_log: &str) -> PathBuf {
    let (file, ca_file) = (hub.device_file(DEVICE), hub.dir.join("ca.pem"));
    sandbox.write(
        "agent.toml",
        format!(
            "connection-string-file = {file:?}\nca-file = {ca_file:?}\naudit-log = {audit_log:?}\n{ECHO}"
        ),
    )
}

/// An agent with a small file system mounted at `disk`.
fn on_a_small_disk(sandbox: &Sandbox, disk: &str, size: &str, hub: &Hub, audit_log: &str) -> Command {
    fs::create_dir_all(sandbox.path(disk)).unwrap();
    let mut command = sandbox.command(need("unshare"));
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    // exec replaces the shell, so that the agent has its process id.
    let script = r#"mount -t tmpfs -o "size=$1" small "$2" && shift 2 && exec "$@""#;
    command.args(["--mount", "sh", "-c", script, "sh", size]).arg(sandbox.path(disk));
    command.arg(iotstream()).args(["agent", "-vv", "--config"]);
    command.arg(config(sandbox, hub, audit_log));
    command
}

/// The path of a file in the agent's mount namespace.
fn seen_by(agent: &Process, path: PathBuf) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", agent.pid(), path.display()))
}

#[test]
fn a_full_disk_leaves_no_partial_line_and_the_lines_are_written_later() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = in_service(&mut on_a_small_disk(&sandbox, "disk", "16k", &hub, "disk/audit.log"));
    let log = seen_by(&agent, sandbox.path("disk/audit.log"));
    let filler = seen_by(&agent, sandbox.path("disk/filler"));
    // This leaves the log one page, which no whole number of lines fills.
    fs::write(&filler, vec![0; 8192]).unwrap();
    let mut asked = 0;
    let mut ask = || {
        asked += 1;
        assert_eq!(ask(&sandbox, &hub, &format!("s{asked}"), "x").succeeded().text(), "x");
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        text.len()
    };
    while !agent.stderr().contains("No space left on device") {
        assert!(ask() <= 8192);
    }
    // Streams still work, and their lines are kept for later.
    ask();
    ask();
    fs::remove_file(&filler).unwrap();
    agent.says("writing again", 1, SOON);
    let of = |stream: &str| {
        let text = fs::read_to_string(&log).unwrap();
        let all = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        all.filter(|line| line["stream"] == stream).count()
    };
    eventually(SOON, || {
        let missing = (1..=asked).find(|number| of(&format!("s{number}")) != 4);
        missing.map_or(Ok(()), |number| Err(format!("the four lines of s{number}")))
    });
}

#[test]
fn an_agent_starts_and_reloads_without_its_audit_log_and_reports_it() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let socket = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let status_with = |text: &str| {
        eventually(LIMIT, || {
            let mut block = [0; 4096];
            let count = socket.recv(&mut block).map_err(|error| format!("{text}: {error}"))?;
            let message = String::from_utf8_lossy(&block[..count]).into_owned();
            if message.starts_with("STATUS=") && message.contains(text) { Ok(message) } else { Err(message) }
        })
    };
    let mut command = sandbox.iotstream();
    command.env("NOTIFY_SOCKET", sandbox.path("notify"));
    command.args(["agent", "-vv", "--config"]).arg(config(&sandbox, &hub, "later/audit.log"));
    let mut agent = in_service(&mut command);
    let status = status_with("in service");
    assert!(status.contains("later/audit.log: No such file"), "{status}");
    assert!(agent.stderr().contains("later/audit.log: No such file"), "{}", agent.stderr());
    ask(&sandbox, &hub, "before", "x").succeeded();

    fs::create_dir(sandbox.path("later")).unwrap();
    agent.says("writing again", 1, SOON);
    assert!(!status_with("in service").contains("audit-log"));
    eventually(SOON, || {
        let lines = events(&sandbox, "later/audit.log").len();
        if lines == 4 { Ok(()) } else { Err(format!("{lines} of 4 lines")) }
    });

    // A new path that cannot be written does not affect anything else, and the lines go to the old one.
    let mut live = EchoStream::open(&sandbox, &hub, "live");
    config(&sandbox, &hub, "/no/such/directory/x");
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", 1, SOON);
    agent.says("/no/such/directory/x: No such file", 1, SOON);
    live.works();
    ask(&sandbox, &hub, "after", "x").succeeded();
    eventually(SOON, || {
        let lines = events(&sandbox, "later/audit.log");
        let found = lines.iter().filter(|line| line["stream"] == "after").count();
        if found == 4 { Ok(()) } else { Err(format!("{lines:?}")) }
    });
    config(&sandbox, &hub, "audit.log");
    agent.signal(Signal::HUP);
    agent.says("writing again", 2, SOON);
    drop(live);
    event(&sandbox, "live", "end");
}

#[test]
fn the_check_fails_when_the_audit_log_cannot_be_written() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let check = |command: &mut Command, problem: &str| {
        let done = run(command, Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(74), "{}", done.text());
        let line = done.text().lines().find(|line| line.starts_with("fail  audit-log")).unwrap();
        assert!(line.contains(problem), "{line}");
        assert!(done.text().contains("pass  credential"), "{}", done.text());
    };
    let here = |audit_log: &str| {
        let mut command = sandbox.iotstream();
        command.args(["agent", "--check", "--config"]).arg(config(&sandbox, &hub, audit_log));
        command
    };
    check(&mut here("/dev/full"), "No space left");
    check(&mut here("none/audit.log"), "No such file");
    check(&mut here("."), "Is a directory");
    let full = "dd if=/dev/zero of=\"$0\"/filler 2>&-; exec \"$@\" --check";
    let mut command = on_a_small_disk(&sandbox, "disk", "16k", &hub, "disk/audit.log");
    let words: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let program = words.iter().position(|word| word == iotstream()).unwrap();
    let mut filled = sandbox.command(command.get_program());
    filled.args(&words[..program]).args(["sh", "-c", full]).arg(sandbox.path("disk")).args(&words[program..]);
    command = filled;
    check(&mut command, "No space left");

    let done = run(&mut here("audit.log"), Stdin::Ends(b""), LIMIT).succeeded();
    assert!(done.text().contains("pass  audit-log"), "{}", done.text());
    assert!(!sandbox.path("audit.log").exists(), "it would belong to whoever looks");
}
