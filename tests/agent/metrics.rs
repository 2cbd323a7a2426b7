//! The agent's figures for Prometheus, with Prometheus' own client for Python as the judge of both formats.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::{SOON, ask, event};
use crate::support::{
    DEVICE, EchoStream, Hub, Process, Sandbox, Stdin, agent_with_config, closed_port, eventually, finish,
    mode, python_program, run,
};

const TARGETS: &str = "audit-log = \"audit.log\"\n\
    [[target]]\nstream = \"tcp-*\"\nbuiltin = \"echo\"\n\
    [[target]]\nstream = \"shut\"\nbuiltin = \"echo\"\napprove = \"never\"\n\
    [[target]]\nstream = \"down\"\nconnect = \"/no/such/socket\"\n";

/// Prints the samples of a text in either format as JSON: `[name, labels, value]`. It fails for a text that is not valid.
const PARSE: &str = r##"
import json, sys
from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as strict
text = sys.stdin.read()
is_open = text.endswith("# EOF\n")
families = list((strict if is_open else parser).text_string_to_metric_families(text))
assert all(family.documentation and family.type != "unknown" and family.type != "untyped" for family in families), families
print(json.dumps([[s.name, s.labels, s.value] for family in families for s in family.samples]))
"##;

fn samples(sandbox: &Sandbox, text: &str) -> Vec<Value> {
    let mut python = sandbox.command(python_program("python"));
    let done = run(python.args(["-c", PARSE]), Stdin::Ends(text.as_bytes()), SOON).succeeded();
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The value of a sample with all of these labels.
fn value(samples: &[Value], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &&Value| {
        sample[0] == format!("iotstream_agent_{name}")
            && labels.iter().all(|(label, value)| sample[1][label] == *value)
    };
    samples.iter().find(fits).map(|sample| sample[2].as_f64().unwrap())
}

/// The head and the body of the answer to a request.
fn get(mut stream: impl Read + Write, path: &str, accept: &str) -> (String, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_figures_are_what_happened_and_both_formats_are_valid() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let address = format!("127.0.0.1:{}", closed_port());
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &format!("metrics = {address:?}\n{TARGETS}"));
    ask(&sandbox, &hub, "tcp-80", "12345").succeeded();
    event(&sandbox, "tcp-80", "end");
    for stream in ["shut", "down", "secret-name"] {
        assert_eq!(ask(&sandbox, &hub, stream, "x").status.code(), Some(69));
    }
    let live = EchoStream::open(&sandbox, &hub, "tcp-443");
    let connect = || TcpStream::connect(&address).unwrap();
    let (head, text) = get(connect(), "/metrics", "text/plain");
    assert!(head.starts_with("http/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let (head, open) = get(connect(), "/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    let name = hub.name();
    for text in [&text, &open] {
        let samples = samples(&sandbox, text);
        for (name, labels, expected) in [
            ("build_info", &[("version", env!("CARGO_PKG_VERSION"))][..], 1.0),
            ("streams_total", &[("target", "tcp-*"), ("outcome", "completed")], 1.0),
            ("streams_total", &[("target", "shut"), ("outcome", "rejected")], 1.0),
            ("rejected_total", &[("reason", "approval")], 1.0),
            ("rejected_total", &[("reason", "target")], 1.0),
            ("rejected_total", &[("reason", "no-target")], 1.0),
            // Of the stream that has ended and the live one.
            ("stream_bytes_total", &[("target", "tcp-*"), ("direction", "to-user")], 19.0),
            ("stream_bytes_total", &[("target", "tcp-*"), ("direction", "from-user")], 19.0),
            ("live_streams", &[], 1.0),
            ("setup_seconds_count", &[], 2.0),
            ("hub_connections_total", &[("hub", &name)], 1.0),
            ("connected", &[("hub", &name)], 1.0),
        ] {
            assert_eq!(value(&samples, name, labels), Some(expected), "{name} {labels:?} in {text}");
        }
        let now = crate::support::sas::unix_seconds() as f64;
        let login = value(&samples, "last_login_timestamp_seconds", &[]).unwrap();
        assert!((now - 60.0..=now).contains(&login), "{login}");
        // The key has no end.
        assert_eq!(value(&samples, "credential_expiry_timestamp_seconds", &[]), None);
        assert!(!text.contains("tcp-443") && !text.contains("secret-name"), "{text}");
    }
    assert!(get(connect(), "/", "*/*").0.starts_with("http/1.1 404"));

    agent.signal(Signal::HUP);
    agent.says("in service", 2, SOON);
    let samples = |accept| samples(&sandbox, &get(connect(), "/metrics", accept).1);
    assert_eq!(value(&samples("*/*"), "hub_connections_total", &[]), Some(2.0));
    drop(live);
    drop(hub);
    agent.says("trying again", 1, SOON);
    eventually(SOON, || {
        let found = samples("*/*");
        let read = |name| value(&found, name, &[]);
        let seen = (read("connected"), read("live_streams"));
        if seen == (Some(0.0), Some(0.0)) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn the_figures_are_read_from_a_socket_or_a_file() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let (socket, file) = (sandbox.path("metrics.sock"), sandbox.path("iotstream.prom"));
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &format!("metrics = {socket:?}\n{TARGETS}"));
    let (head, text) = get(UnixStream::connect(&socket).unwrap(), "/metrics", "*/*");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(value(&samples(&sandbox, &text), "live_streams", &[]), Some(0.0));
    assert_eq!(mode(&socket), 0o666);

    let config = std::fs::read_to_string(sandbox.path("agent.toml")).unwrap();
    sandbox.write("agent.toml", config.replace("metrics.sock", "iotstream.prom"));
    agent.signal(Signal::HUP);
    let read = || std::fs::read_to_string(&file).map_err(|error| error.to_string());
    let text = eventually(SOON, read);
    assert_eq!(value(&samples(&sandbox, &text), "streams_total", &[]), None);
    assert_eq!(mode(&file), 0o644);
    eventually(SOON, || if socket.exists() { Err("the socket is removed".to_owned()) } else { Ok(()) });
    // The last figures are written at the end.
    ask(&sandbox, &hub, "tcp-80", "x").succeeded();
    event(&sandbox, "tcp-80", "end");
    agent.signal(Signal::TERM);
    agent.ends(SOON);
    let last = samples(&sandbox, &read().unwrap());
    assert_eq!(value(&last, "streams_total", &[("outcome", "completed")]), Some(1.0));
    assert_eq!(value(&last, "connected", &[]), Some(0.0));
}

#[test]
fn an_address_in_use_is_a_warning_and_one_of_another_machine_an_error() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = format!("metrics = {address:?}\n{TARGETS}");
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    // Each libc has words of its own for it.
    agent.says(&format!("metrics {address}: Address "), 1, SOON);
    agent.says("in use (os error 98); the agent serves on without it", 1, SOON);
    ask(&sandbox, &hub, "tcp-80", "x").succeeded();
    agent.signal(Signal::TERM);
    agent.ends(SOON);

    let check = |command: &mut Command| {
        finish(command.args(["agent", "--check", "--config"]).arg(sandbox.path("agent.toml")))
    };
    let done = check(&mut sandbox.iotstream());
    assert!(done.text().contains("fail  metrics"), "{}", done.text());
    drop(taken);
    let living: Process = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let done = check(&mut sandbox.iotstream());
    assert!(done.text().contains("pass  metrics"), "{}", done.text());
    drop(living);

    sandbox.write("agent.toml", config.replace(&address, "0.0.0.0:9100"));
    let done = check(&mut sandbox.iotstream());
    assert_eq!(done.status.code(), Some(78), "{}", done.text());
    assert!(done.text().contains("reachable from other machines"), "{}", done.text());
}
