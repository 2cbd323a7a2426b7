//! Azure Arc: machines through a profile, and the command lines of `az ssh`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use data_encoding::BASE64;

use crate::support::{Hub, LIMIT, Process, Sandbox, Stdin, in_service, run};

/// An emulator with the hybrid connection `gw-07`, and an agent that listens there in place of Arc's.
fn arc(sandbox: &Sandbox, faults: &[&str]) -> (Hub, Process) {
    let hub = Hub::start(sandbox, &[&["--relay-entity", "gw-07"], faults].concat());
    let mut agent = sandbox.iotstream();
    agent.args(["agent", "-v", "--connection-string-file"]).arg(hub.dir.join("relay/gw-07.listen.conn"));
    agent.arg("--ca-file").arg(hub.dir.join("ca.pem")).args(["--target", "ssh=builtin:echo"]);
    let agent = in_service(&mut agent);
    (hub, agent)
}

fn profile(sandbox: &Sandbox, hub: &Hub) -> Command {
    let mut command = sandbox.iotstream();
    command.arg("--config").arg(hub.dir.join("profiles.toml")).args(["--profile", "arc"]);
    command
}

/// The credentials of `machine`, as the emulator's part of Azure Resource Manager lists them.
fn relay_info(sandbox: &Sandbox, hub: &Hub) -> String {
    run(profile(sandbox, hub).arg("gw-07"), Stdin::Ends(b""), LIMIT).succeeded();
    let state = sandbox.path(".local/state/iotstream");
    let mut kept = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let kept: PathBuf =
        kept.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("arc-")).unwrap();
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read(&kept).unwrap();
    fs::remove_file(kept).unwrap();
    BASE64.encode(&text)
}

#[test]
fn a_machine_is_reached_with_one_request_for_its_credentials() {
    let sandbox = Sandbox::new();
    let (hub, _agent) = arc(&sandbox, &[]);
    for phases in [true, false] {
        let mut command = profile(&sandbox, &hub);
        let done = run(command.args(["--stats", "gw-07"]), Stdin::Ends(b"and back"), LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(0), "and back"), "{}", done.stderr);
        assert_eq!(done.stderr.contains("arm"), phases, "{}", done.stderr);
    }
}

#[test]
fn missing_parts_of_a_machine_are_explained_with_the_command_that_makes_them() {
    for (fault, command) in [
        ("relay-arc=404", "endpoints/default?api-version"),
        ("relay-arc=412", "endpoints/default/serviceConfigurations/SSH"),
    ] {
        let sandbox = Sandbox::new();
        let (hub, _agent) = arc(&sandbox, &["--inject", fault]);
        let done = run(profile(&sandbox, &hub).arg("gw-07"), Stdin::Ends(b""), LIMIT);
        assert!(!done.status.success() && done.stderr.contains("az rest --method put"), "{}", done.stderr);
        assert!(done.stderr.contains(command), "{}", done.stderr);
    }
}

#[test]
fn az_passes_the_credentials_in_a_file_or_a_variable() {
    let sandbox = Sandbox::new();
    let (hub, _agent) = arc(&sandbox, &[]);
    let info = relay_info(&sandbox, &hub);
    let file = sandbox.write("relay_info", &info);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let call = |command: &mut Command| {
        command.arg("--ca-file").arg(hub.dir.join("ca.pem"));
        run(command, Stdin::Ends(b"and back"), LIMIT)
    };
    let done = call(sandbox.iotstream().arg("-r").arg(&file).args(["-p", "2222"]));
    assert_eq!((done.status.code(), done.text()), (Some(0), "and back"), "{}", done.stderr);
    assert!(done.stderr.contains("chmod"), "{}", done.stderr);
    let done = call(sandbox.iotstream().env("SSHPROXY_RELAY_INFO", &info));
    assert_eq!((done.status.code(), done.text(), &*done.stderr), (Some(0), "and back", ""));
    // Credentials that have expired, or are for somebody else's server.
    let text = String::from_utf8(BASE64.decode(info.as_bytes()).unwrap()).unwrap();
    let key = "\"expiresOn\":";
    let (start, rest) = text.split_once(key).unwrap();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let expired = BASE64.encode(format!("{start}{key}7{rest}").as_bytes());
    let done = call(sandbox.iotstream().env("SSHPROXY_RELAY_INFO", &expired));
    assert_eq!(done.status.code(), Some(77), "{}", done.stderr);
    assert!(done.stderr.contains("have expired"), "{}", done.stderr);
    let foreign = text.replace("localhost", "evil.example");
    let done = call(sandbox.iotstream().env("SSHPROXY_RELAY_INFO", BASE64.encode(foreign.as_bytes())));
    assert!(
        done.stderr.contains("evil.example") && done.stderr.contains("--relay-suffix"),
        "{}",
        done.stderr
    );
    // The variable counts only where no host is named.
    let done =
        run(profile(&sandbox, &hub).arg("gw-07").env("SSHPROXY_RELAY_INFO", "!"), Stdin::Ends(b"x"), LIMIT);
    assert_eq!((done.status.code(), done.text()), (Some(0), "x"), "{}", done.stderr);
}
