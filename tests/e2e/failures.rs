//! What the helper says and how it exits when it cannot open a stream. The exit status and the two lines on stderr are a
//! contract with scripts and people alike.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Bench, DEVICE, Finished, Hub, LIMIT, Stdin, agent, closed_port, random, run, serve};

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;
const PROTOCOL: i32 = 76;
const DENIED: i32 = 77;
const CONFIG: i32 = 78;

/// Runs the helper as for a protocol other than ssh, and expects the exit status, nothing on stdout, and an error and a
/// hint of one line each at the end of stderr which together contain all of `says`.
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

// The profile file, before anything is sent.

fn with_profiles(bench: &Bench, content: &str) -> (Command, PathBuf) {
    let path = bench.write("profiles.toml", content);
    let mut helper = bench.iotstream();
    helper.arg("--config").arg(&path);
    (helper, path)
}

const USABLE: &str = "[profile.factory]\n\
    connection-string = \"HostName=localhost:1;SharedAccessKeyName=service;SharedAccessKey=MDEyMw==\"\n\
    hosts = [\"*.factory\"]\n";

#[test]
fn a_malformed_connection_string_is_a_fault_of_the_profile_and_is_not_repeated() {
    let bench = Bench::new();
    for (connection_string, problem) in [
        ("HostName=localhost;SharedAccessKeyName=service", "no SharedAccessKey"),
        ("SharedAccessKeyName=service;SharedAccessKey=MDEyMw==", "no HostName"),
        (
            "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=not*base64",
            "SharedAccessKey is not base64",
        ),
        ("MDEyMw", "connection string"),
    ] {
        let (mut helper, _) = with_profiles(
            &bench,
            &format!(
                "default = \"factory\"\n[profile.factory]\nconnection-string = \"{connection_string}\"\n"
            ),
        );
        let done = fails(helper.arg(DEVICE), CONFIG, &[problem]);
        for key in ["MDEyMw", "not*base64"] {
            assert!(!done.stderr.contains(key), "{}", done.stderr);
        }
    }
}

#[test]
fn an_unknown_key_of_a_profile_is_named_with_its_line() {
    let bench = Bench::new();
    let (mut helper, path) = with_profiles(&bench, &format!("{USABLE}conect-timeout = \"30s\"\n"));
    fails(helper.arg("gw.factory"), CONFIG, &["conect-timeout", &format!("{}:4", path.display())]);
}

#[test]
fn an_unknown_profile_is_named_beside_those_that_exist() {
    let bench = Bench::new();
    let (mut helper, _) = with_profiles(&bench, USABLE);
    fails(helper.args(["--profile", "facktory", DEVICE]), CONFIG, &["'facktory'", "factory"]);
}

#[test]
fn a_host_of_no_profile_is_a_fault_of_the_profile_file() {
    let bench = Bench::new();
    let (mut helper, _) = with_profiles(&bench, USABLE);
    fails(helper.arg("gw.office"), CONFIG, &["no default profile"]);
}

#[test]
fn a_missing_profile_file_is_named() {
    let bench = Bench::new();
    let missing = bench.path("missing.toml");
    let mut helper = bench.iotstream();
    let shown = missing.display().to_string();
    fails(helper.arg("--config").arg(&missing).arg(DEVICE), CONFIG, &[&shown]);
}

fn make_readable_by_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn a_profile_file_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    let bench = Bench::new();
    let (mut helper, path) = with_profiles(&bench, USABLE);
    make_readable_by_all(&path);
    fails(helper.arg("gw.factory"), CONFIG, &["0644", "chmod", &path.display().to_string()]);
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    let bench = Bench::new();
    let key_file =
        bench.write("key.conn", "HostName=localhost;SharedAccessKeyName=s;SharedAccessKey=MDEyMw==");
    make_readable_by_all(&key_file);
    let (mut helper, _) = with_profiles(
        &bench,
        &format!("[profile.p]\nconnection-string-file = \"{}\"\nhosts = [\"*\"]\n", key_file.display()),
    );
    fails(helper.arg(DEVICE), CONFIG, &["0644", "chmod", &key_file.display().to_string()]);
}

// The command line.

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let bench = Bench::new();
    for (args, named) in [
        (&[][..], "<HOST>"),
        (&[DEVICE, "0"], "'0'"),
        (&[DEVICE, "65536"], "'65536'"),
        (&["--no-such-option", DEVICE], "'--no-such-option'"),
    ] {
        let done = run(bench.iotstream().args(args), Stdin::Stays(b"hello"), LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(USAGE), ""), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(named), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn a_numeric_name_that_ssh_rewrote_is_a_usage_error_that_shows_the_way_out() {
    let bench = Bench::new();
    let (mut helper, _) = with_profiles(&bench, &format!("default = \"factory\"\n{USABLE}"));
    fails(helper.arg("0.0.4.210"), USAGE, &["0.0.4.210", "\"--name=%n\""]);
}

// The hub's and the device's own answers.

/// A hub that knows one device.
fn hub(bench: &Bench) -> Hub {
    Hub::start(bench, &["--device", DEVICE])
}

#[test]
fn a_device_that_is_not_registered_is_unavailable() {
    let bench = Bench::new();
    let hub = hub(&bench);
    fails(hub.helper(&bench).arg("dev-2"), UNAVAILABLE, &["dev-2", "404001", "case-sensitive"]);
}

#[test]
fn a_device_that_is_offline_is_unavailable_and_the_hub_s_tracking_id_is_given() {
    let bench = Bench::new();
    let hub = hub(&bench);
    let mut helper = hub.helper(&bench);
    fails(
        helper.args(["--connect-timeout", "1s", DEVICE]),
        UNAVAILABLE,
        &[DEVICE, "404103", "tracking id ", "iotstream agent"],
    );
}

#[test]
fn a_stream_that_the_device_rejects_is_unavailable() {
    let bench = Bench::new();
    let hub = hub(&bench);
    let _agent = agent(&bench, &hub, DEVICE, &[("ssh", closed_port())]);
    fails(
        hub.helper(&bench).args(["--stream", "nothing", DEVICE]),
        UNAVAILABLE,
        &[DEVICE, "rejected", "'nothing'"],
    );
    // A target that is down is seen before the stream is accepted.
    fails(hub.helper(&bench).arg(DEVICE), UNAVAILABLE, &[DEVICE, "rejected", "'ssh'"]);
}

fn with_own_profile(bench: &Bench, connection_string: &str, ca_file: Option<&Path>) -> Command {
    let ca_file = ca_file.map(|path| format!("ca-file = \"{}\"\n", path.display())).unwrap_or_default();
    let content =
        format!("default = \"own\"\n[profile.own]\nconnection-string = \"{connection_string}\"\n{ca_file}");
    with_profiles(bench, &content).0
}

#[test]
fn a_wrong_key_is_denied() {
    let bench = Bench::new();
    let hub = hub(&bench);
    let connection_string =
        format!("HostName={};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==", hub.https);
    let mut helper = with_own_profile(&bench, &connection_string, Some(&hub.dir.join("ca.pem")));
    fails(helper.arg(DEVICE), DENIED, &["refuses the credential", "401"]);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_denied() {
    let bench = Bench::new();
    let hub = hub(&bench);
    let mut helper = with_own_profile(&bench, &hub.service_connection_string(), None);
    fails(helper.arg(DEVICE), DENIED, &["tls", "not trusted", "--ca-file"]);
}

#[test]
fn a_hub_that_cannot_be_reached_is_temporary() {
    let bench = Bench::new();
    let target = format!("127.0.0.1:{}", closed_port());
    let connection_string = format!("HostName={target};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==");
    let mut helper = with_own_profile(&bench, &connection_string, None);
    fails(helper.arg(DEVICE), TEMPORARY, &["tcp", &target]);
}

// Faults on the way, which the emulator makes.

/// Runs the helper where all is well but for `fault`.
#[track_caller]
fn with_fault(fault: &str, exit: i32, says: &[&str]) {
    let bench = Bench::new();
    // An agent could not come into service while the hub itself is at fault; nor is one asked for then.
    let hub = Hub::start(&bench, &["--device", DEVICE, "--inject", fault]);
    let needs_device = ["gateway=", "url="].iter().any(|kind| fault.starts_with(kind));
    let agent = needs_device.then(|| agent(&bench, &hub, DEVICE, &[("ssh", serve(drop))]));
    let mut helper = hub.helper(&bench);
    helper.args(["--connect-timeout", "2s", "--response-timeout", "2s", DEVICE]);
    let done = fails(&mut helper, exit, says);
    if fault.starts_with("hub=") {
        let port = hub.https.rsplit(':').next().unwrap();
        let address = format!("localhost:{port}");
        assert!(done.stderr.contains(&address), "it names the hub's address: {}", done.stderr);
    }
    drop(agent);
}

#[test]
fn a_clock_that_is_far_off_is_denied_and_named() {
    with_fault("clock=+10m", DENIED, &["401", "the clock here is", "behind"]);
}

#[test]
fn a_hub_in_trouble_is_temporary() {
    with_fault("status=500", TEMPORARY, &["500"]);
}

#[test]
fn a_hub_that_never_answers_is_temporary() {
    with_fault("hub=silent", TEMPORARY, &["no answer"]);
}

#[test]
fn a_hub_that_hangs_up_is_temporary() {
    with_fault("hub=drop", TEMPORARY, &["hub"]);
}

#[test]
fn a_hub_that_speaks_something_else_breaks_the_protocol() {
    with_fault("hub=garbage", PROTOCOL, &["broke the protocol"]);
}

#[test]
fn a_gateway_that_refuses_the_token_is_denied() {
    with_fault("gateway=401", DENIED, &["gateway", "401"]);
}

#[test]
fn a_gateway_that_has_lost_the_stream_is_temporary() {
    with_fault("gateway=404", TEMPORARY, &["gateway", "404", "try again"]);
}

#[test]
fn a_gateway_in_trouble_is_temporary() {
    with_fault("gateway=500", TEMPORARY, &["gateway", "500", "try again"]);
}

#[test]
fn a_gateway_that_does_not_upgrade_breaks_the_protocol() {
    with_fault("gateway=noupgrade", PROTOCOL, &["gateway"]);
}

#[test]
fn a_gateway_that_never_answers_is_temporary() {
    with_fault("gateway=silent", TEMPORARY, &["gateway: no answer"]);
}

#[test]
fn a_gateway_without_tls_breaks_the_protocol() {
    with_fault("url=ws-service", PROTOCOL, &["the hub localhost:", "ws://"]);
}

#[test]
fn a_device_rejects_what_it_cannot_join() {
    with_fault("url=ws", UNAVAILABLE, &["rejected"]);
}

#[test]
fn a_stream_that_is_cut_is_temporary_and_what_came_before_was_delivered() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE, "--inject", "cut=100000"]);
    let sent = random(1 << 20);
    let served = sent.clone();
    let port = serve(move |mut stream| {
        // The cut may come before all is written.
        let _ = stream.write_all(&served);
        let _ = stream.read(&mut [0]);
    });
    let _agent = agent(&bench, &hub, DEVICE, &[("ssh", port)]);
    let done = run(hub.helper(&bench).arg(DEVICE), Stdin::Stays(b"hello"), LIMIT);
    assert_eq!(done.status.code(), Some(TEMPORARY), "{}", done.stderr);
    assert!(!done.stdout.is_empty() && done.stdout.len() < sent.len(), "{} bytes came", done.stdout.len());
    assert!(sent.starts_with(&done.stdout), "what came is what was sent first");
}
