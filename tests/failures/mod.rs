//! What the helper says and how it exits when a stream cannot be opened or ends early. The exit status and the two lines
//! on stderr are a contract with scripts and people alike.

mod clocks;
mod crashes;
mod gateway_errors;
mod hostile_hub;
mod hostile_relay;
mod hub_errors;
mod profile_errors;
mod stream_endings;
mod usage_errors;

use std::path::PathBuf;
use std::process::Command;

use crate::support::{DEVICE, Finished, Hub, LIMIT, Sandbox, Stdin, agent, run, serve};

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;
const PROTOCOL: i32 = 76;
const DENIED: i32 = 77;
const CONFIG: i32 = 78;

/// Runs the helper with a protocol other than ssh, and expects the exit status, nothing on stdout, and an error and a
/// hint of one line each at the end of stderr, which together contain all of `says`.
#[track_caller]
fn fails(helper: &mut Command, exit: i32, says: &[&str]) -> Finished {
    let done = run(helper, Stdin::Stays(b"hello"), LIMIT);
    let said = &done.stderr;
    assert_eq!(done.status.code(), Some(exit), "{said}");
    assert_eq!(done.text(), "", "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let [.., error, hint] = lines[..] else { panic!("not two lines: {said}") };
    assert!(error.starts_with("iotstream: error: "), "{said}");
    assert!(hint.starts_with("iotstream: hint: "), "{said}");
    assert_eq!(said.matches("iotstream: error: ").count(), 1, "{said}");
    for text in says {
        assert!(error.contains(text) || hint.contains(text), "'{text}' is not said: {said}");
    }
    done
}

fn with_profiles(sandbox: &Sandbox, content: &str) -> (Command, PathBuf) {
    let path = sandbox.write("profiles.toml", content);
    let mut helper = sandbox.iotstream();
    helper.arg("--config").arg(&path);
    (helper, path)
}

/// A valid profile file without a default.
const USABLE: &str = "[profile.factory]\n\
    connection-string = \"HostName=localhost:1;SharedAccessKeyName=service;SharedAccessKey=MDEyMw==\"\n\
    hosts = [\"*.factory\"]\n";

/// Runs the helper with the emulator's `fault`.
#[track_caller]
fn with_fault(fault: &str, exit: i32, says: &[&str]) {
    let sandbox = Sandbox::new();
    // With a fault of the hub itself, an agent could not connect, and is not needed.
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", fault]);
    let needs_device = ["gateway=", "url="].iter().any(|kind| fault.starts_with(kind));
    let agent = needs_device.then(|| agent(&sandbox, &hub, DEVICE, &[("ssh", serve(drop))]));
    let mut helper = hub.helper(&sandbox);
    helper.args(["--connect-timeout", "2s", "--response-timeout", "2s", DEVICE]);
    let done = fails(&mut helper, exit, says);
    if fault.starts_with("hub=") {
        let port = hub.https.rsplit(':').next().unwrap();
        let address = format!("localhost:{port}");
        assert!(done.stderr.contains(&address), "it names the hub's address: {}", done.stderr);
    }
    drop(agent);
}
