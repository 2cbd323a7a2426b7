//! A start at a relay: its tries, their limits of time, and the one tracking id of all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Answer, Finished, LIMIT, Sandbox, ScriptedRelay, Stdin, finish, http_answer, http_request, refuse, run,
    serve, serve_tls, timed,
};

/// Expects that all tries carry one id.
#[track_caller]
fn one_start(relay: &ScriptedRelay, tries: usize) {
    let ids = relay.ids();
    assert_eq!(ids.len(), tries, "{ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 36), "{ids:?}");
}

/// The helper to `gw-07`, to its end.
fn helped(sandbox: &Sandbox, relay: &ScriptedRelay, args: &[&str]) -> Finished {
    run(relay.helper(sandbox, "").args(args).arg("gw-07"), Stdin::Ends(b""), LIMIT)
}

/// The helper to a namespace at `address`, whose profile has further `keys`, with a `--connect-timeout` of one second.
fn helped_in_a_second(sandbox: &Sandbox, address: &str, keys: &str) -> Finished {
    let text = format!(
        "[profile.x]\nconnection-string = \"Endpoint=sb://{address}/;SharedAccessKeyName=s;SharedAccessKey=k\"\n{keys}\n"
    );
    sandbox.write("profiles.toml", text);
    let mut helper = sandbox.iotstream();
    let helper =
        helper.args(["--config", "profiles.toml", "--profile", "x", "--connect-timeout", "1", "gw-07"]);
    run(helper, Stdin::Ends(b""), LIMIT)
}

#[test]
fn what_may_pass_is_tried_again_with_the_same_id() {
    for script in [
        vec![refuse("404 Endpoint does not exist"), refuse("404 Not Found"), Answer::Accept],
        vec![refuse("503 Service Unavailable"), refuse("500 x"), Answer::Accept],
        vec![refuse("502 Bad Gateway"), Answer::Accept],
        vec![refuse("504 Gateway Timeout"), Answer::Accept],
        vec![Answer::Drop, Answer::Accept],
    ] {
        let sandbox = Sandbox::new();
        let relay = ScriptedRelay::start(&sandbox, &script);
        let done = helped(&sandbox, &relay, &["--connect-timeout", "60"]).succeeded();
        assert_eq!((done.text(), done.stderr.as_str()), ("hello", ""), "{script:?}");
        one_start(&relay, script.len());
    }
}

#[test]
fn a_late_listener_is_asked_for_once_more() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[refuse("504 Gateway Timeout"), refuse("408 x")]);
    let done = helped(&sandbox, &relay, &["--connect-timeout", "60"]);
    assert_eq!(done.status.code(), Some(75), "{}", done.stderr);
    one_start(&relay, 2);
}

#[test]
fn retries_end_within_connect_timeout() {
    let _timed = timed();
    let sandbox = Sandbox::new();
    for (status, exit) in [("404 Not Found", 69), ("503 Service Unavailable", 69), ("500 x", 75)] {
        let relay = ScriptedRelay::start(&sandbox, &[refuse(status)]);
        let since = Instant::now();
        let done = helped(&sandbox, &relay, &["--connect-timeout", "1"]);
        assert_eq!(done.status.code(), Some(exit), "{}", done.stderr);
        assert!(since.elapsed() < Duration::from_secs(2), "{status}: {:?}", since.elapsed());
    }
}

#[test]
fn a_retry_that_ends_with_the_limit_does_not_hide_the_refusal() {
    let _timed = timed();
    let sandbox = Sandbox::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let (port, _) = serve_tls(&sandbox, move |mut stream| {
        if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            http_request(&mut stream).unwrap();
            http_answer(&mut stream, "503 Service Unavailable", "", "");
        } else {
            // Later handshakes get no answer.
            drop(std::io::copy(&mut stream.sock, &mut std::io::sink()));
        }
    });
    let done = helped_in_a_second(&sandbox, &format!("localhost:{port}"), "ca-file = \"tls.pem\"");
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("503"), "{}", done.stderr);
}

#[test]
fn dialling_ends_at_connect_timeout() {
    let _timed = timed();
    let sandbox = Sandbox::new();
    // A server that never answers the handshake.
    let port = serve(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())));
    let since = Instant::now();
    let done = helped_in_a_second(&sandbox, &format!("127.0.0.1:{port}"), "");
    assert_eq!(done.status.code(), Some(75), "{}", done.stderr);
    assert!(done.stderr.contains("tls: no answer from 127.0.0.1"), "{}", done.stderr);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

#[test]
fn an_answer_that_waits_for_a_person_is_bounded_by_response_timeout() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Silence]);
    let since = Instant::now();
    let done = helped(&sandbox, &relay, &["--connect-timeout", "1", "--response-timeout", "3"]);
    assert_eq!(done.status.code(), Some(75), "{}", done.stderr);
    assert!(done.stderr.contains("relay: no answer from localhost"), "{}", done.stderr);
    assert!(done.stderr.contains(" in 3s"), "{}", done.stderr);
    assert!(since.elapsed() >= Duration::from_secs(3), "{:?}", since.elapsed());
    one_start(&relay, 1);
}

#[test]
fn a_stalled_try_gets_a_second_one_beside_it() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Silence, Answer::Accept]);
    let since = Instant::now();
    let done = helped(&sandbox, &relay, &["--connect-timeout", "1"]).succeeded();
    assert_eq!(done.text(), "hello");
    assert!(since.elapsed() >= Duration::from_secs(10), "{:?}", since.elapsed());
    one_start(&relay, 2);
}

#[test]
fn the_first_of_two_tries_is_waited_for_where_the_second_fails() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Silence, refuse("503 x")]);
    let since = Instant::now();
    let done = helped(&sandbox, &relay, &["--connect-timeout", "1", "--response-timeout", "12"]);
    // The answer says more than the silence.
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("answered 503"), "{}", done.stderr);
    assert!(since.elapsed() >= Duration::from_secs(12), "{:?}", since.elapsed());
    one_start(&relay, 2);
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Silence, refuse("403 iotstream: refused")]);
    let since = Instant::now();
    let done = helped(&sandbox, &relay, &["--connect-timeout", "1", "--response-timeout", "60"]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(since.elapsed() < Duration::from_secs(40), "a rejection ends both: {:?}", since.elapsed());
}

#[test]
fn a_wait_continues_the_same_start() {
    let sandbox = Sandbox::new();
    let script =
        [vec![refuse("404 Not Found"); 4], vec![refuse("429 iotstream: full"), Answer::Accept]].concat();
    let relay = ScriptedRelay::start(&sandbox, &script);
    let args = ["--connect-timeout", "500ms", "--wait", "60s"];
    let done = helped(&sandbox, &relay, &args).succeeded();
    assert_eq!(done.text(), "hello");
    one_start(&relay, script.len());
}

#[test]
fn every_start_has_its_own_id() {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[Answer::Accept]);
    for _ in 0..2 {
        finish(relay.helper(&sandbox, "").arg("gw-07")).succeeded();
    }
    let ids = relay.ids();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}
