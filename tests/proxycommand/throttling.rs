//! A hub throttles new streams: helpers that start at once take turns, and one that is throttled tries again in time.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, Mode, flock, mkfifoat};

use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, agent_with_config, run, timed,
};

const ECHO: &str = "[[target]]\nstream = \"*\"\nbuiltin = \"echo\"\n";

/// Runs `count` helpers at once.
fn at_once(sandbox: &Sandbox, hub: &Hub, count: usize) -> Vec<Finished> {
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| run(hub.helper(sandbox).args(["-v", DEVICE]), Stdin::Ends(b"x"), LIMIT)))
            .collect();
        helpers.into_iter().map(|helper| helper.join().unwrap()).collect()
    })
}

#[test]
fn twelve_simultaneous_sessions_all_get_through_a_throttling_hub() {
    let testbed = Testbed::with_hub(&["--inject", "status=429@6"]);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                run(testbed.openssh("ssh").args([DEVICE, "true"]), Stdin::Ends(b""), LIMIT).succeeded();
            });
        }
    });
}

#[test]
fn a_hub_that_keeps_throttling_fails_within_twelve_seconds() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "status=429"]);
    let begin = Instant::now();
    let done = run(hub.helper(&sandbox).arg(DEVICE), Stdin::Stays(b"SSH-2.0-x\r\n"), LIMIT);
    let took = begin.elapsed();
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("throttles new streams (429001"), "{}", done.stderr);
    assert!((Duration::from_secs(8)..Duration::from_secs(12)).contains(&took), "{took:?}");
}

#[test]
fn a_long_retry_after_fails_at_once() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "status=429,retry-after=30"]);
    let begin = Instant::now();
    let done = run(hub.helper(&sandbox).arg(DEVICE), Stdin::Stays(b"hello"), LIMIT);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("try again in 30 s"), "{}", done.stderr);
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
}

#[test]
fn simultaneous_helpers_share_the_rate_of_the_hub() {
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--quota", "5/s,50"]);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let done = at_once(&sandbox, &hub, 15);
    let waited = done.iter().filter(|done| done.stderr.contains("for a turn")).count();
    for done in done {
        assert_eq!(done.succeeded().text(), "x");
    }
    assert!((1..=10).contains(&waited), "{waited} waited");
    assert!(!hub.process.stderr().contains("is throttled"), "{}", hub.process.stderr());
}

#[test]
fn without_pacing_throttled_helpers_retry_and_succeed() {
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--quota", "5/s,50"]);
    let profiles = fs::read_to_string(hub.dir.join("profiles.toml")).unwrap();
    let unpaced = profiles.replace("streams-per-second = 5", "streams-per-second = 0");
    assert_ne!(profiles, unpaced);
    fs::write(hub.dir.join("profiles.toml"), unpaced).unwrap();
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    for done in at_once(&sandbox, &hub, 15) {
        assert!(!done.stderr.contains("for a turn"), "{}", done.stderr);
        assert_eq!(done.succeeded().text(), "x");
    }
    assert!(hub.process.stderr().contains("is throttled"), "{}", hub.process.stderr());
}

#[test]
fn a_stream_beyond_the_quota_waits_for_another_to_end() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--quota", "50/s,1"]);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let mut first = Process::start("first", hub.helper(&sandbox).arg(DEVICE));
    first.say("here\n");
    first.says("here", 1, LIMIT);
    let mut second = Process::start("second", hub.helper(&sandbox).args(["-v", DEVICE]));
    let waiting = second.says("; waiting", 1, LIMIT);
    assert!(waiting.contains("throttles new streams (429001"), "{waiting}");
    first.close_stdin();
    second.say("here\n");
    second.says("here", 1, LIMIT);
}

/// The file that records the last starts for the hub, in a directory that exists.
fn rate_file(sandbox: &Sandbox, hub: &Hub) -> PathBuf {
    let state = sandbox.path(".local/state/iotstream");
    fs::create_dir_all(&state).unwrap();
    state.join(format!("rate-localhost%3A{}", hub.port()))
}

/// A record of five starts, `ahead` from now.
fn starts(ahead: Duration) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + ahead;
    format!("{:013}\n", at.as_millis()).repeat(5)
}

#[test]
fn an_unusable_rate_file_delays_no_connection() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--quota", "5/s,50"]);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let file = rate_file(&sandbox, &hub);
    let connects = |what: &str| {
        let done = run(hub.helper(&sandbox).args(["-vv", DEVICE]), Stdin::Ends(b"x"), LIMIT).succeeded();
        assert!(!done.stderr.contains("for a turn"), "{what}: {}", done.stderr);
        done.stderr
    };
    connects("nothing");
    assert!(file.is_file(), "the starts are remembered");

    fs::write(&file, starts(Duration::from_secs(3600))).unwrap();
    connects("the future");
    fs::write(&file, "garbage\n".repeat(5)).unwrap();
    connects("garbage");
    fs::remove_file(&file).unwrap();

    // A process that holds the lock may be suspended.
    fs::write(&file, starts(Duration::from_secs(2))).unwrap();
    let held = File::options().read(true).write(true).mode(0o600).open(&file).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    assert!(connects("a holder").contains("not paced"));
    drop(held);
    fs::remove_file(&file).unwrap();

    mkfifoat(rustix::fs::CWD, &file, Mode::RUSR | Mode::WUSR).unwrap();
    assert!(connects("a FIFO").contains("not paced"));
    fs::remove_file(&file).unwrap();

    let elsewhere = sandbox.write("elsewhere", starts(Duration::from_secs(2)));
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    assert!(connects("a link").contains("not paced"));
    fs::remove_file(&file).unwrap();

    fs::create_dir(&file).unwrap();
    assert!(connects("a directory").contains("not paced"));
}

#[test]
fn a_helper_waits_at_most_four_seconds_for_its_turn() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--quota", "5/s,50"]);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    fs::write(rate_file(&sandbox, &hub), starts(Duration::from_millis(3900))).unwrap();
    let begin = Instant::now();
    let done = run(hub.helper(&sandbox).args(["-v", DEVICE]), Stdin::Ends(b"x"), LIMIT).succeeded();
    assert!(begin.elapsed() >= Duration::from_secs(4), "{:?}", begin.elapsed());
    assert!(done.stderr.contains("waiting 4.0 s for a turn"), "{}", done.stderr);
}

#[test]
fn the_retry_after_of_the_hub_is_obeyed() {
    let testbed = Testbed::with_hub(&["--inject", "status=429@2"]);
    let begin = Instant::now();
    run(testbed.openssh("ssh").args([DEVICE, "true"]), Stdin::Ends(b""), LIMIT).succeeded();
    // The hub asks for one second each time; the helper's own pauses would add up to one and a half.
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}
