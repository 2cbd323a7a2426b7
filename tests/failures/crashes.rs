//! One of the processes is killed: its sessions end, nothing is left behind, and the rest recovers.

use std::time::Duration;

use crate::support::{DEVICE, LIMIT, Process, Site, Stdin, run};

/// Within this, nothing that belongs to a broken session may be left.
const GONE: Duration = Duration::from_secs(5);
/// Within this, whoever was restarted is in service again.
const BACK: Duration = Duration::from_secs(20);

/// An ssh session whose remote command has begun and lasts as long as its stdin.
fn session(site: &Site) -> Process {
    let mut ssh = site.openssh("ssh");
    let mut session = Process::start(&site.bench, "ssh", ssh.args([DEVICE, "echo up; exec cat"]));
    session.says("up", 1, LIMIT);
    session
}

#[track_caller]
fn reaches_the_device(site: &Site) {
    let done = run(site.openssh("ssh").args([DEVICE, "echo reached"]), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "reached\n");
}

#[test]
fn a_killed_ssh_leaves_nothing_behind() {
    let site = Site::start();
    session(&site).kill();
    site.bench.left_alone_with(GONE, &site.residents());
    reaches_the_device(&site);
}

#[test]
fn a_killed_helper_ends_ssh_and_leaves_nothing_behind() {
    let site = Site::start();
    let mut ssh = session(&site);
    rustix::process::kill_process(site.helper(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    site.bench.left_alone_with(GONE, &site.residents());
    reaches_the_device(&site);
}

#[test]
fn a_killed_agent_ends_its_sessions_and_is_back_when_restarted() {
    let mut site = Site::start();
    let mut ssh = session(&site);
    site.agent.kill();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    site.bench.left_alone_with(GONE, &[&site.sshd.process, &site.hub.process]);
    site.restart_agent();
    reaches_the_device(&site);
}

#[test]
fn a_killed_hub_ends_its_sessions_and_the_agent_finds_it_when_restarted() {
    let mut site = Site::start();
    let mut ssh = session(&site);
    site.hub.process.kill();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    site.bench.left_alone_with(GONE, &[&site.agent, &site.sshd.process]);
    site.hub.restart(&site.bench);
    site.agent.says("in service", 2, BACK);
    reaches_the_device(&site);
}
