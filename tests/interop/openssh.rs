//! ssh, scp and sftp, each through a hub, a device and its sshd.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::{
    DEVICE, LIMIT, Process, Stdin, Testbed, eventually, exchange, finish, heavy, random, run, sha256,
};

/// The limit of transfers, which take minutes on a slow machine.
const LONG: Duration = Duration::from_secs(300);

#[test]
fn ssh_reports_the_remote_exit_status() {
    reports_the_exit_status(&Testbed::start());
}

/// ssh's exit status is the command's.
pub fn reports_the_exit_status(testbed: &Testbed) {
    finish(testbed.openssh("ssh").args([DEVICE, "true"])).succeeded();
    let done = finish(testbed.openssh("ssh").args([DEVICE, "exit 7"]));
    assert_eq!(done.status.code(), Some(7), "{}", done.stderr);
}

#[test]
fn ssh_passes_on_the_end_of_stdin() {
    passes_on_the_end_of_stdin(&Testbed::start());
}

/// The command sees the end of ssh's stdin.
pub fn passes_on_the_end_of_stdin(testbed: &Testbed) {
    let done = run(testbed.openssh("ssh").args([DEVICE, "cat"]), Stdin::Ends(b"x"), LIMIT).succeeded();
    assert_eq!(done.text(), "x");
}

#[test]
fn ssh_keeps_stdout_and_stderr_separate_and_the_helper_adds_nothing() {
    let testbed = Testbed::start();
    let done = finish(testbed.openssh("ssh").args([DEVICE, "echo out; echo err >&2"])).succeeded();
    assert_eq!((done.text(), done.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn ssh_gives_the_command_a_terminal_on_request() {
    let testbed = Testbed::start();
    let done =
        finish(testbed.openssh("ssh").args(["-tt", DEVICE, "test -t 0 && echo a terminal"])).succeeded();
    assert_eq!(done.text().trim_end(), "a terminal");
}

#[test]
fn a_session_leaves_nothing_behind() {
    let testbed = Testbed::start();
    finish(testbed.openssh("ssh").args([DEVICE, "true"])).succeeded();
    testbed.sandbox.leaves_only(Duration::from_secs(5), &testbed.residents());
}

#[test]
fn scp_carries_files_both_ways() {
    copies_with_scp(&Testbed::start());
}

/// scp copies a file to the device and back, in both of its protocols.
pub fn copies_with_scp(testbed: &Testbed) {
    let sent = random(8 << 20);
    let (here, there, back) =
        (testbed.sandbox.write("here", &sent), testbed.sandbox.path("there"), testbed.sandbox.path("back"));
    let remote = format!("{DEVICE}:{}", there.display());
    // The SFTP protocol, and the older SCP protocol.
    for protocol in ["-s", "-O"] {
        finish(testbed.openssh("scp").args(["-q", protocol]).arg(&here).arg(&remote)).succeeded();
        finish(testbed.openssh("scp").args(["-q", protocol]).arg(&remote).arg(&back)).succeeded();
        for copy in [&there, &back] {
            assert_eq!(sha256(&fs::read(copy).unwrap()), sha256(&sent), "{protocol} {}", copy.display());
            fs::remove_file(copy).unwrap();
        }
    }
}

#[test]
fn sftp_runs_a_batch() {
    runs_an_sftp_batch(&Testbed::start());
}

/// sftp puts, lists and gets a file.
pub fn runs_an_sftp_batch(testbed: &Testbed) {
    let sent = random(100_000);
    testbed.sandbox.write("here", &sent);
    let there = testbed.sandbox.path("there");
    fs::create_dir(&there).unwrap();
    let batch = format!("cd {}\nput here put\nls -1\nget put back\n", there.display());
    let batch = testbed.sandbox.write("batch", batch);
    let done = finish(testbed.openssh("sftp").arg("-b").arg(batch).arg(DEVICE)).succeeded();
    assert!(done.text().lines().any(|line| line.trim() == "put"), "{}", done.text());
    assert_eq!(fs::read(there.join("put")).unwrap(), sent);
    assert_eq!(fs::read(testbed.sandbox.path("back")).unwrap(), sent);
}

#[test]
fn sessions_of_a_control_master_share_one_stream() {
    let testbed = Testbed::start();
    let socket = testbed.sandbox.path("control");
    let ssh = |args: &[&str]| {
        let mut ssh = testbed.openssh("ssh");
        ssh.arg("-S").arg(&socket).args(args);
        ssh
    };
    let mut master = Process::start("master", &mut ssh(&["-M", "-N", DEVICE]));
    eventually(LIMIT, || {
        let check = finish(&mut ssh(&["-O", "check", DEVICE]));
        if check.status.success() { Ok(()) } else { Err(check.stderr) }
    });
    let mut sessions: Vec<Process> =
        (0..3).map(|_| Process::start("session", &mut ssh(&[DEVICE, "echo up; exec cat"]))).collect();
    for session in &mut sessions {
        session.says("up", 1, LIMIT);
    }
    let helpers = testbed.helpers();
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    drop(sessions);
    finish(&mut ssh(&["-O", "exit", DEVICE])).succeeded();
    master.ends(LIMIT);
    testbed.sandbox.leaves_only(Duration::from_secs(5), &testbed.residents());
}

#[test]
fn sixteen_simultaneous_sessions_each_get_their_own_answer() {
    let _turn = heavy();
    answers_sessions_at_once(&Testbed::start(), 16);
}

/// As many sessions at the same time each get their own answer.
pub fn answers_sessions_at_once(testbed: &Testbed, count: usize) {
    thread::scope(|scope| {
        for number in 0..count {
            scope.spawn(move || {
                let echo = format!("echo {number}; cat");
                let done =
                    run(testbed.openssh("ssh").args([DEVICE, &echo]), Stdin::Ends(b"in"), LONG).succeeded();
                assert_eq!(done.text(), format!("{number}\nin"));
            });
        }
    });
}

#[test]
fn a_quarter_of_a_gigabyte_passes_both_ways_unchanged() {
    let _turn = heavy();
    echoes_a_quarter_of_a_gigabyte(&Testbed::start());
}

/// 256 MiB go to the device and come back unchanged.
pub fn echoes_a_quarter_of_a_gigabyte(testbed: &Testbed) {
    let done = exchange(testbed.openssh("ssh").args([DEVICE, "cat"]), 256 << 20, LONG);
    assert_eq!(done.received, done.sent);
    assert_eq!((done.beyond, done.status.code()), (0, Some(0)));
}
