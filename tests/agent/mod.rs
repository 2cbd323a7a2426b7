//! `iotstream agent`: which streams it accepts, how it logs in, and how it runs as a service.

mod approval;
mod audit_log;
mod audit_log_on_a_full_disk;
mod certificates;
mod check;
mod child_processes;
mod contention;
mod control;
mod control_socket;
mod credentials;
mod file_permissions;
mod host_key_report;
mod host_keys;
mod identity_service;
mod iot_edge;
mod limits;
mod many_streams;
mod metrics;
mod provisioning;
mod reconnecting;
mod relay;
mod relay_reconnecting;
mod reload;
mod restarting;
mod service_manager;
mod stopping;
mod systemd_unit;
mod targets;
mod token_renewal;

use std::time::Duration;

use crate::support::{Finished, Hub, LIMIT, Sandbox, Stdin, eventually, run};

/// A target that echoes, for a configuration.
const ECHO: &str = "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n";

/// Long enough for the hub and the helper, before any decision.
const SOON: Duration = Duration::from_secs(20);

/// Opens `stream` with a helper, sends `text` and reads to the end.
fn ask(sandbox: &Sandbox, hub: &Hub, stream: &str, text: &str) -> Finished {
    let mut helper = hub.helper(sandbox);
    run(helper.args(["--stream", stream, crate::support::DEVICE]), Stdin::Ends(text.as_bytes()), LIMIT)
}

/// The lines of an audit log.
fn events(sandbox: &Sandbox, name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(sandbox.path(name)).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits for an event of a stream in the audit log.
#[track_caller]
fn event(sandbox: &Sandbox, stream: &str, event: &str) -> serde_json::Value {
    eventually(SOON, || {
        let events = events(sandbox, "audit.log");
        let found = events.iter().find(|line| line["stream"] == stream && line["event"] == event);
        found.cloned().ok_or_else(|| format!("{event} of {stream} in {events:?}"))
    })
}
