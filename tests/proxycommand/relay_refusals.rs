//! A relay's and its listeners' refusals: what the user is told, and that nothing final is tried again.

use std::time::{Duration, SystemTime};

use crate::support::{Answer, Finished, LIMIT, Sandbox, ScriptedRelay, Stdin, refuse, run};

/// A refused helper, and the number of its tries.
fn refused(script: &[Answer], args: &[&str]) -> (Finished, usize) {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, script);
    let done = run(relay.helper(&sandbox, "").args(args).arg("gw-07"), Stdin::Stays(b"x"), LIMIT);
    assert!(!done.stderr.contains("sig="), "no token is shown: {}", done.stderr);
    (done, relay.requests().len())
}

#[test]
fn a_final_answer_is_told_and_not_tried_again() {
    for (status, exit, says) in [
        ("403 iotstream: no target has that name", 69, "rejected the stream 'ssh' through localhost"),
        ("502 iotstream: the target is down", 69, "the target is down"),
        ("409 iotstream: this is device gw-08", 69, "another device than gw-07 answered"),
        ("429 iotstream: there are 8 streams", 69, "there are 8 streams"),
        ("418 I am a teapot of another kind", 69, "the listener at 'gw-07' of localhost"),
        ("401 The token has an invalid signature. TrackingId:5c1b_G52", 77, "TrackingId:5c1b_G52"),
        ("401 Ip has been prevented to connect to the endpoint", 77, "the IP firewall of localhost"),
        ("400 This endpoint is only for web-socket requests", 76, "Upgrade header"),
        ("302 Found", 76, "answered 302"),
    ] {
        let (done, tries) = refused(&[refuse(status)], &[]);
        assert_eq!(done.status.code(), Some(exit), "{status}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{status}: {}", done.stderr);
        assert_eq!(tries, 1, "{status}");
    }
}

#[test]
fn a_refused_token_tells_of_a_wrong_clock() {
    let date = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
    let answer = Answer::Refuse("401 x TrackingId:1_G2".into(), format!("Date: {date}\r\n"));
    let (done, _) = refused(&[answer], &[]);
    assert!(done.stderr.contains("ahead of the relay's, which allows five minutes"), "{}", done.stderr);
}

#[test]
fn a_missing_listener_is_told_with_both_causes() {
    let (done, tries) = refused(&[refuse("404 No listener. TrackingId:5c1b_G52")], &[]);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    let says = "device gw-07 is not connected to localhost";
    assert!(done.stderr.contains(says), "{}", done.stderr);
    assert!(done.stderr.contains("or there is no hybrid connection 'gw-07'"), "{}", done.stderr);
    assert!(done.stderr.contains("TrackingId:5c1b_G52"), "{}", done.stderr);
    assert!((2..=5).contains(&tries), "{tries} tries in three seconds");
}
