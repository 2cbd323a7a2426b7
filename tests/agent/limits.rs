//! Limits: how many streams the agent accepts, how fast they are and how long they last.

use std::time::{Duration, Instant};

use super::{SOON, ask, event};
use crate::support::{DEVICE, EchoStream, Hub, LIMIT, Sandbox, agent_with_config, exchange};

fn echo(stream: &str) -> String {
    format!("[[target]]\nstream = {stream:?}\nbuiltin = \"echo\"\n")
}

#[track_caller]
fn rejected(sandbox: &Sandbox, hub: &Hub, stream: &str, why: &str) {
    let done = ask(sandbox, hub, stream, "x");
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    let reason = event(sandbox, stream, "rejected")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(why), "{reason}");
}

#[test]
fn max_sessions_limits_streams_and_an_ended_stream_frees_its_slot() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = format!(
        "max-sessions = 2\naudit-log = \"audit.log\"\n{}max-sessions = 1\n{}",
        echo("one-*"),
        echo("*")
    );
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let first = EchoStream::open(&sandbox, &hub, "one-a");
    rejected(&sandbox, &hub, "one-b", "there are 1 streams of this target already");
    let mut second = EchoStream::open(&sandbox, &hub, "any");
    rejected(&sandbox, &hub, "more", "there are 2 streams already (max-sessions)");
    drop(first);
    event(&sandbox, "one-a", "end");
    let mut third = EchoStream::open(&sandbox, &hub, "one-c");
    second.works();
    third.works();
}

#[test]
fn idle_timeout_and_max_duration_end_streams() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config =
        format!("idle-timeout = \"2s\"\nmax-duration = \"6s\"\naudit-log = \"audit.log\"\n{}", echo("*"));
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let mut idle = EchoStream::open(&sandbox, &hub, "idle");
    let mut busy = EchoStream::open(&sandbox, &hub, "busy");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        busy.works();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(event(&sandbox, "idle", "end")["reason"], "idle for 2s (idle-timeout)");
    // A limit is not an ordinary end: bytes may have been in transit.
    assert_eq!(idle.helper.ends(SOON).code(), Some(75), "{}", idle.helper.stderr());
    // It still works until max-duration ends it.
    busy.works();
    while begin.elapsed() < Duration::from_secs(7) && busy.helper.stderr().is_empty() {
        busy.helper.try_say("still busy\n");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(event(&sandbox, "busy", "end")["reason"], "its time is up (max-duration)");
    busy.helper.ends(SOON);
}

#[test]
fn streams_share_the_bandwidth_limit() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = format!("bandwidth = 400_000\n{}", echo("*"));
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut helper = hub.helper(&sandbox);
                let done = exchange(helper.args(["--stream", "echo", DEVICE]), 300_000, LIMIT);
                assert_eq!(done.received, done.sent);
            });
        }
    });
    // Two streams, 300 kB there and 300 kB back each.
    let took = begin.elapsed().as_secs_f64();
    assert!((2.8..6.0).contains(&took), "1.2 MB at 400 kB/s took {took} s");
}

#[test]
fn daily_bytes_ends_streams_and_rejects_new_ones() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = format!("daily-bytes = 100_000\naudit-log = \"audit.log\"\n{}", echo("*"));
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let mut small = EchoStream::open(&sandbox, &hub, "small");
    // More than fits in transit, so that the limit ends the stream and not the user.
    let large = "x".repeat(4_000_000);
    ask(&sandbox, &hub, "large", &large);
    for stream in ["small", "large"] {
        assert_eq!(event(&sandbox, stream, "end")["reason"], "today's bytes are used up (daily-bytes)");
    }
    small.helper.ends(SOON);
    rejected(&sandbox, &hub, "late", "today's bytes are used up");
    agent.says("rejected: today's bytes are used up", 1, SOON);
}
