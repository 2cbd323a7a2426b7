//! A device that is not there yet is waited for with `--wait`, a hub that throttles for a while, and nothing else.

use std::time::{Duration, Instant};

use crate::support::{Bench, DEVICE, Hub, LIMIT, Process, Site, Stdin, eventually, run};

#[test]
fn a_device_that_comes_online_is_reached() {
    let mut site = Site::start();
    site.agent.kill();
    let log = site.bench.path("helper.log");
    site.configure(&format!("--wait 60s --connect-timeout 1s --log-file {}", log.display()));
    let mut ssh = Process::start(&site.bench, "ssh", site.openssh("ssh").args([DEVICE, "echo reached"]));
    eventually(LIMIT, || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.contains("; waiting") { Ok(()) } else { Err(format!("it waits: {said}")) }
    });
    site.restart_agent();
    ssh.says("reached", 1, LIMIT);
    assert_eq!(ssh.ends(LIMIT).code(), Some(0), "{}", ssh.stderr());
}

#[test]
fn a_hub_that_throttles_is_obeyed_for_as_long_as_it_says() {
    let site = Site::with_hub(&["--inject", "status=429@2"]);
    let begin = Instant::now();
    run(site.openssh("ssh").args([DEVICE, "true"]), Stdin::Ends(b""), LIMIT).succeeded();
    // The hub says a second each time; the helper's own pauses would be one and a half in all.
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_device_that_stays_away_is_given_up_in_time() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let mut helper = hub.helper(&bench);
    helper.args(["-v", "--wait", "2s", "--connect-timeout", "1s", DEVICE]);
    let begin = Instant::now();
    let done = run(&mut helper, Stdin::Stays(b"hello"), LIMIT);
    let took = begin.elapsed();
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("; waiting"), "it was tried again: {}", done.stderr);
    // The last try begins within the wait, and may take a second itself.
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
}
