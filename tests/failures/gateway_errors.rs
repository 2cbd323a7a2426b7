//! Errors of the streaming gateway.

use std::io::{Read, Write};

use super::{DENIED, PROTOCOL, TEMPORARY, UNAVAILABLE, with_fault};
use crate::support::{DEVICE, Hub, LIMIT, Sandbox, Stdin, agent, random, run, serve};

#[test]
fn a_gateway_that_refuses_the_token_is_denied() {
    with_fault("gateway=401", DENIED, &["gateway", "401"]);
}

#[test]
fn a_gateway_that_has_lost_the_stream_is_temporary() {
    with_fault("gateway=404", TEMPORARY, &["gateway", "404", "try again"]);
}

#[test]
fn a_status_500_of_the_gateway_is_temporary() {
    with_fault("gateway=500", TEMPORARY, &["gateway", "500", "try again"]);
}

#[test]
fn a_gateway_that_does_not_upgrade_is_a_protocol_error() {
    with_fault("gateway=noupgrade", PROTOCOL, &["gateway"]);
}

#[test]
fn a_gateway_that_never_answers_is_temporary() {
    with_fault("gateway=silent", TEMPORARY, &["gateway: no answer"]);
}

#[test]
fn a_gateway_url_without_tls_is_a_protocol_error() {
    with_fault("url=ws-service", PROTOCOL, &["the hub localhost:", "ws://"]);
}

#[test]
fn a_device_rejects_a_stream_that_it_cannot_join() {
    with_fault("url=ws", UNAVAILABLE, &["rejected"]);
}

#[test]
fn a_cut_stream_is_temporary_and_the_bytes_before_the_cut_are_delivered() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "cut=100000"]);
    let sent = random(1 << 20);
    let served = sent.clone();
    let port = serve(move |mut stream| {
        // The cut may come before all is written.
        let _ = stream.write_all(&served);
        let _ = stream.read(&mut [0]);
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    let done = run(hub.helper(&sandbox).arg(DEVICE), Stdin::Stays(b"hello"), LIMIT);
    assert_eq!(done.status.code(), Some(TEMPORARY), "{}", done.stderr);
    assert!(!done.stdout.is_empty() && done.stdout.len() < sent.len(), "{} bytes came", done.stdout.len());
    assert!(sent.starts_with(&done.stdout), "what came is what was sent first");
}
