//! `iotstream check` at a relay.

use crate::support::{Answer, LIMIT, Sandbox, ScriptedRelay, Stdin, refuse, run};

/// The steps that `check` tells, as `status name`, and its exit status.
fn steps(answer: Answer) -> (Vec<String>, Option<i32>) {
    let sandbox = Sandbox::new();
    let relay = ScriptedRelay::start(&sandbox, &[answer]);
    let profiles = relay.profile(&sandbox, "connect-timeout = \"1s\"");
    let mut check = sandbox.iotstream();
    check.args(["check", "--json", "--config"]).arg(profiles).args(["--profile", "x", "gw-07"]);
    let done = run(&mut check, Stdin::Ends(b""), LIMIT);
    let all: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let step = |found: &serde_json::Value| {
        format!("{} {}", found["status"].as_str().unwrap(), found["check"].as_str().unwrap())
    };
    (all.as_array().unwrap().iter().map(step).collect(), done.status.code())
}

const CONNECTED: [&str; 4] = ["pass profile", "pass dns", "pass tcp", "pass tls"];

#[test]
fn every_step_up_to_the_stream_is_told() {
    let date = format!("Date: {}\r\n", httpdate::fmt_http_date(std::time::SystemTime::now()));
    let refuse_at_once = |status: &str| Answer::Refuse(status.into(), date.clone());
    for (answer, rest, exit) in [
        // The target is no ssh server.
        (
            Answer::Accept,
            &["skip clock", "pass credential", "pass device", "skip gateway", "fail target"][..],
            76,
        ),
        (
            refuse_at_once("401 bad. TrackingId:1_G2"),
            &["pass clock", "fail credential", "skip device", "skip gateway", "skip target"],
            77,
        ),
        (
            refuse_at_once("404 Not Found"),
            &["pass clock", "skip credential", "fail device", "skip gateway", "skip target"],
            69,
        ),
        (
            refuse_at_once("403 iotstream: no target has that name"),
            &["pass clock", "pass credential", "fail device", "skip gateway", "skip target"],
            69,
        ),
        (
            refuse("400 This endpoint is only for web-socket requests"),
            &["skip clock", "fail relay", "skip credential", "skip device", "skip gateway", "skip target"],
            76,
        ),
    ] {
        let (told, status) = steps(answer.clone());
        assert_eq!(told, [&CONNECTED, rest].concat(), "{answer:?}");
        assert_eq!(status, Some(exit), "{answer:?}");
    }
}
