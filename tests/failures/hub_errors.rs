//! Errors on the connection to the hub, and the hub's and the device's refusals.

use std::path::Path;
use std::process::Command;

use super::{DENIED, PROTOCOL, TEMPORARY, UNAVAILABLE, fails, with_fault, with_profiles};
use crate::support::{DEVICE, Hub, LIMIT, Sandbox, Stdin, agent, closed_port, run};

/// A hub that knows one device.
fn hub(sandbox: &Sandbox) -> Hub {
    Hub::start(sandbox, &["--device", DEVICE])
}

#[test]
fn an_unregistered_device_is_unavailable() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox);
    fails(hub.helper(&sandbox).arg("dev-2"), UNAVAILABLE, &["dev-2", "404001", "case-sensitive"]);
}

#[test]
fn an_offline_device_is_unavailable_and_the_error_has_the_tracking_id() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox);
    let mut helper = hub.helper(&sandbox);
    fails(
        helper.args(["--connect-timeout", "1s", DEVICE]),
        UNAVAILABLE,
        &[DEVICE, "404103", "tracking id ", "iotstream agent"],
    );
}

#[test]
fn a_rejected_stream_is_unavailable() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox);
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", closed_port())]);
    fails(
        hub.helper(&sandbox).args(["--stream", "nothing", DEVICE]),
        UNAVAILABLE,
        &[DEVICE, "rejected", "'nothing'"],
    );
    // The agent notices a target that is down before it accepts the stream.
    fails(hub.helper(&sandbox).arg(DEVICE), UNAVAILABLE, &[DEVICE, "rejected", "'ssh'"]);
}

fn with_own_profile(sandbox: &Sandbox, connection_string: &str, ca_file: Option<&Path>) -> Command {
    let ca_file = ca_file.map(|path| format!("ca-file = \"{}\"\n", path.display())).unwrap_or_default();
    let content =
        format!("default = \"own\"\n[profile.own]\nconnection-string = \"{connection_string}\"\n{ca_file}");
    with_profiles(sandbox, &content).0
}

#[test]
fn a_wrong_key_is_denied() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox);
    let connection_string =
        format!("HostName={};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==", hub.https);
    let mut helper = with_own_profile(&sandbox, &connection_string, Some(&hub.dir.join("ca.pem")));
    fails(helper.arg(DEVICE), DENIED, &["refuses the credential", "401"]);
}

#[test]
fn a_certificate_of_an_unknown_ca_is_denied() {
    let sandbox = Sandbox::new();
    let hub = hub(&sandbox);
    let mut helper = with_own_profile(&sandbox, &hub.service_connection_string(), None);
    fails(helper.arg(DEVICE), DENIED, &["tls", "not trusted", "--ca-file"]);
}

#[test]
fn an_unreachable_hub_is_temporary() {
    let sandbox = Sandbox::new();
    let target = format!("127.0.0.1:{}", closed_port());
    let connection_string = format!("HostName={target};SharedAccessKeyName=service;SharedAccessKey=MDEyMw==");
    let mut helper = with_own_profile(&sandbox, &connection_string, None);
    fails(helper.arg(DEVICE), TEMPORARY, &["tcp", &target]);
}

#[test]
fn a_clock_that_is_far_off_is_denied_and_reported() {
    with_fault("clock=+10m", DENIED, &["401", "the clock here is", "behind"]);
}

#[test]
fn a_status_500_of_the_hub_is_temporary() {
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
fn a_hub_that_does_not_speak_http_is_a_protocol_error() {
    with_fault("hub=garbage", PROTOCOL, &["broke the protocol"]);
}

#[test]
fn the_cause_behind_an_error_is_printed_with_vv_alone() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "hub=garbage"]);
    for (verbose, is_told) in [("-v", false), ("-vv", true)] {
        let done = run(hub.helper(&sandbox).args([verbose, DEVICE]), Stdin::Ends(b""), LIMIT);
        assert_eq!(done.status.code(), Some(PROTOCOL), "{}", done.stderr);
        assert_eq!(done.stderr.contains("iotstream: cause: invalid HTTP"), is_told, "{}", done.stderr);
        assert!(hub.keys().iter().all(|key| !done.stderr.contains(key)), "{}", done.stderr);
    }
}
