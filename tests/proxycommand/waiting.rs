//! `--wait`: the helper waits for a device that is offline.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, agent_with_config, eventually, run,
};

const ECHO: &str = "[[target]]\nstream = \"*\"\nbuiltin = \"echo\"\n";

#[test]
fn a_device_that_comes_online_is_reached() {
    let mut testbed = Testbed::start();
    testbed.agent.kill();
    let log = testbed.sandbox.path("helper.log");
    testbed.configure(&format!("--wait 60s --connect-timeout 1s --log-file {}", log.display()));
    let mut ssh = Process::start("ssh", testbed.openssh("ssh").args([DEVICE, "echo reached"]));
    eventually(LIMIT, || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.contains("; waiting") { Ok(()) } else { Err(format!("it waits: {said}")) }
    });
    testbed.restart_agent();
    ssh.says("reached", 1, LIMIT);
    assert_eq!(ssh.ends(LIMIT).code(), Some(0), "{}", ssh.stderr());
}

#[test]
fn the_wait_ends_in_time_when_a_device_stays_offline() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut helper = hub.helper(&sandbox);
    helper.args(["-v", "--wait", "2s", "--connect-timeout", "1s", DEVICE]);
    let begin = Instant::now();
    let done = run(&mut helper, Stdin::Stays(b"hello"), LIMIT);
    let took = begin.elapsed();
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("; waiting"), "it was tried again: {}", done.stderr);
    // The last try begins within the wait, and may take a second itself.
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[test]
fn a_profile_sets_the_wait_and_an_option_overrides_it() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let path = hub.dir.join("profiles.toml");
    let profiles = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{profiles}wait = \"60s\"\nconnect-timeout = \"1s\"\n")).unwrap();
    let mut helper = Process::start("helper", hub.helper(&sandbox).args(["-v", DEVICE]));
    helper.says("is not connected to", 1, LIMIT);
    helper.says("; waiting", 1, LIMIT);
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    helper.say("here\n");
    helper.says("here", 1, LIMIT);
    // The command line overrides the profile.
    let mut other = hub.helper(&sandbox);
    let done = run(other.args(["--wait", "0", "no-such-device"]), Stdin::Stays(b"x"), LIMIT);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    let mut show = sandbox.iotstream();
    show.args(["profile", "show", "--config"]).arg(&path);
    let shown = run(&mut show, Stdin::Ends(b""), LIMIT).succeeded();
    assert!(shown.text().contains("wait = 1m\n"), "{}", shown.text());
}
