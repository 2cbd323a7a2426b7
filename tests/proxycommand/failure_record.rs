//! The record that `iotstream last` shows.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::support::{DEVICE, Hub, LIMIT, Sandbox, Stdin, agent, run, serve};

#[test]
fn the_last_failure_is_recorded_in_a_private_file() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let last = || run(sandbox.iotstream().arg("last"), Stdin::Ends(b""), LIMIT);
    assert_eq!(last().status.code(), Some(1), "nothing has failed yet");

    let failed = run(
        hub.helper(&sandbox).args(["--connect-timeout", "1s", DEVICE]),
        Stdin::Stays(b"SSH-2.0-x\r\n"),
        LIMIT,
    );
    assert_eq!(failed.status.code(), Some(69));
    let record = last().succeeded();
    let error = failed.stderr.lines().next().unwrap().strip_prefix("iotstream: ").unwrap();
    for expected in [error, "host: dev-1", "hint: ", "exit status: 69", "tls: localhost:", "time: "] {
        assert!(record.text().contains(expected), "'{expected}' is not in {}", record.text());
    }
    for secret in hub.keys().iter().map(String::as_str).chain(["sig=", "SharedAccess", "eyJ"]) {
        assert!(!record.text().contains(secret), "{secret} is in {}", record.text());
    }
    let state = sandbox.path(".local/state/iotstream");
    for directory in [&state, &state.join("reports")] {
        for entry in fs::read_dir(directory).unwrap() {
            let metadata = entry.unwrap().metadata().unwrap();
            assert!(metadata.is_dir() || metadata.mode() & 0o777 == 0o600, "{directory:?}");
        }
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_stream_that_is_cut_is_recorded_and_logged() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "cut=100"]);
    let port = serve(|mut stream| {
        // The cut may come before all is written.
        let _ = io::copy(&mut io::repeat(b'x'), &mut stream);
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    let log = sandbox.path("helper.log");
    let done = run(
        hub.helper(&sandbox).arg("--log-file").arg(&log).arg(DEVICE),
        Stdin::Stays(b"SSH-2.0-x\r\n"),
        LIMIT,
    );
    assert_eq!(done.status.code(), Some(75));
    let last = run(sandbox.iotstream().arg("last"), Stdin::Ends(b""), LIMIT).succeeded();
    for text in [&done.stderr, last.text(), &fs::read_to_string(&log).unwrap()] {
        assert!(text.contains("error: the stream was cut"), "{text}");
    }
}
