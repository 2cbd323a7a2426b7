//! What the helper shares with others is as it was: the flags of its descriptors, and no key in a core dump.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::pipe::fcntl_getpipe_size;

use crate::support::{DEVICE, LIMIT, Process, echo_device, eventually};

fn is_blocking(fd: impl AsFd) -> bool {
    !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

#[test]
fn no_descriptor_that_others_share_is_left_without_blocking() {
    let (_agent, hub, bench) = echo_device("ssh");
    let (stdin, mut into) = io::pipe().unwrap();
    let (mut out, stdout) = io::pipe().unwrap();
    let (mut err, stderr) = io::pipe().unwrap();
    let mut helper = hub.helper(&bench);
    // -v keeps stderr from being let go.
    helper.args(["-v", DEVICE]).stdin(stdin.try_clone().unwrap());
    helper.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = helper.spawn().unwrap();
    drop(helper);
    into.write_all(b"echoed\n").unwrap();
    let mut echoed = [0; 7];
    out.read_exact(&mut echoed).unwrap();
    assert!(is_blocking(&stderr), "in mid-session");
    drop(into);
    let status = eventually(LIMIT, || child.try_wait().unwrap().ok_or_else(|| "it ends".to_owned()));
    assert!(status.success());
    for (name, fd) in [("stdin", stdin.as_fd()), ("stdout", stdout.as_fd()), ("stderr", stderr.as_fd())] {
        assert!(is_blocking(fd), "{name}");
    }
    drop(stderr);
    let said = io::read_to_string(&mut err).unwrap();
    assert!(said.contains("the stream is up"), "{said}");
}

#[test]
fn little_waits_in_stdin_s_pipe_for_a_line_that_is_not_known_to_be_fast() {
    let (_agent, hub, bench) = echo_device("ssh");
    let (stdin, mut into) = io::pipe().unwrap();
    let mut helper = hub.helper(&bench);
    let mut child = helper.arg(DEVICE).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
    into.write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(fcntl_getpipe_size(&into).unwrap(), 16 * 1024);
    drop((into, helper));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_core_dump_holds_no_keys() {
    let (_agent, hub, bench) = echo_device("ssh");
    // As permissive as it gets here: where a limit is low already, the helper would have nothing to do.
    let mut shell = bench.command("sh");
    shell.args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh"]);
    let helper = hub.helper(&bench);
    shell.arg(helper.get_program()).args(helper.get_args()).arg(DEVICE);
    let mut helper = Process::start(&bench, "helper", &mut shell);
    helper.say("echoed\n");
    helper.says("echoed", 1, LIMIT);
    let limits = fs::read_to_string(format!("/proc/{}/limits", helper.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let limits: Vec<&str> = line.split_whitespace().take(2).collect();
    assert!(limits.iter().all(|limit| matches!(*limit, "0" | "1")), "soft and hard: {limits:?}");
}
