//! One of the processes is killed: its sessions end, nothing is left behind, and the rest recovers.

use std::time::Duration;

use crate::support::{DEVICE, LIMIT, Process, Stdin, Testbed, run};

/// The limit within which nothing of a broken session is left.
const GONE: Duration = Duration::from_secs(5);
/// The limit within which a restarted process is in service again.
const BACK: Duration = Duration::from_secs(20);

/// An ssh session whose remote command runs until its stdin ends.
fn session(testbed: &Testbed) -> Process {
    let mut ssh = testbed.openssh("ssh");
    let mut session = Process::start("ssh", ssh.args([DEVICE, "echo up; exec cat"]));
    session.says("up", 1, LIMIT);
    session
}

#[track_caller]
fn reaches_the_device(testbed: &Testbed) {
    let done =
        run(testbed.openssh("ssh").args([DEVICE, "echo reached"]), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "reached\n");
}

#[test]
fn a_killed_ssh_leaves_nothing_behind() {
    let testbed = Testbed::start();
    session(&testbed).kill();
    testbed.sandbox.leaves_only(GONE, &testbed.residents());
    reaches_the_device(&testbed);
}

#[test]
fn a_killed_helper_ends_ssh_and_leaves_nothing_behind() {
    let testbed = Testbed::start();
    let mut ssh = session(&testbed);
    rustix::process::kill_process(testbed.helper(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    testbed.sandbox.leaves_only(GONE, &testbed.residents());
    reaches_the_device(&testbed);
}

#[test]
fn a_killed_agent_ends_its_sessions_and_serves_again_after_a_restart() {
    let mut testbed = Testbed::start();
    let mut ssh = session(&testbed);
    testbed.agent.kill();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    testbed.sandbox.leaves_only(GONE, &[&testbed.sshd.process, &testbed.hub.process]);
    testbed.restart_agent();
    reaches_the_device(&testbed);
}

#[test]
fn a_killed_hub_ends_its_sessions_and_the_agent_reconnects_after_a_restart() {
    let mut testbed = Testbed::start();
    let mut ssh = session(&testbed);
    testbed.hub.process.kill();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    testbed.sandbox.leaves_only(GONE, &[&testbed.agent, &testbed.sshd.process]);
    testbed.hub.restart(&testbed.sandbox);
    testbed.agent.says("in service", 2, BACK);
    reaches_the_device(&testbed);
}
