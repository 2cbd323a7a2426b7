//! ssh in the background, and where the reason for the end of a stream appears: the helper closes stderr where it would
//! hang a shell, and nowhere else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::support::{DEVICE, LIMIT, Process, Stdin, Testbed, device_with, eventually, need, run, serve};

/// A shell that runs `script`, with `$SSH` as ssh with the configuration.
fn shell(testbed: &Testbed, script: &str) -> Command {
    let mut shell = testbed.sandbox.command("sh");
    let config = testbed.sandbox.path("ssh_config");
    let socket = testbed.sandbox.path("control");
    shell.env("SSH", format!("{} -F {} -S {}", need("ssh").display(), config.display(), socket.display()));
    shell.args(["-c", script]);
    shell
}

fn stderr_of(helper: Pid) -> String {
    fs::read_link(format!("/proc/{helper}/fd/2")).unwrap().display().to_string()
}

#[test]
fn a_shell_that_captures_ssh_output_continues_once_ssh_is_in_the_background() {
    let testbed = Testbed::start();
    let script =
        format!("said=$($SSH -f -N -M {DEVICE} 2>&1); echo \"went on:$said\"; $SSH {DEVICE} echo reached");
    let done = run(&mut shell(&testbed, &script), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "went on:\nreached\n", "{}", done.stderr);
    assert_eq!(stderr_of(testbed.helper()), "/dev/null");
    run(&mut shell(&testbed, &format!("$SSH -O exit {DEVICE}")), Stdin::Ends(b""), LIMIT).succeeded();
    testbed.sandbox.leaves_only(LIMIT, &testbed.residents());
}

#[test]
fn a_shell_that_captures_ssh_output_continues_once_a_control_master_persists() {
    let testbed = Testbed::start();
    let options = "-o ControlMaster=auto -o ControlPersist=60";
    let script = format!("said=$($SSH {options} {DEVICE} echo reached 2>&1); echo \"went on: $said\"");
    let done = run(&mut shell(&testbed, &script), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "went on: reached\n", "{}", done.stderr);
    testbed.helper();
    run(&mut shell(&testbed, &format!("$SSH -O exit {DEVICE}")), Stdin::Ends(b""), LIMIT).succeeded();
    testbed.sandbox.leaves_only(LIMIT, &testbed.residents());
}

#[test]
fn stderr_to_a_file_stays_open_when_ssh_goes_into_the_background() {
    let mut testbed = Testbed::start();
    let file = testbed.sandbox.path("stderr");
    let script = format!("$SSH -f -N {DEVICE} 2>'{}'", file.display());
    run(&mut shell(&testbed, &script), Stdin::Ends(b""), LIMIT).succeeded();
    testbed.helper();
    testbed.agent.kill();
    says(&file, "iotstream: error: ");
}

#[test]
fn stderr_to_a_pipe_stays_open_while_the_parent_ssh_lives() {
    let mut testbed = Testbed::start();
    let mut ssh = testbed.openssh("ssh");
    let mut ssh = Process::start("ssh", ssh.args([DEVICE, "echo up; exec cat"]));
    ssh.says("up", 1, LIMIT);
    testbed.agent.kill();
    ssh.says("iotstream: hint: ", 1, LIMIT);
    assert!(ssh.stderr().contains("iotstream: error: "), "{}", ssh.stderr());
}

#[test]
fn the_reason_a_stream_ended_is_written_to_a_pipe_and_recorded() {
    let port = serve(|mut stream| {
        use std::io::Write;
        stream.write_all(b"here\n").unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (mut agent, hub, sandbox) = device_with("x", port);
    let mut helper = hub.helper(&sandbox);
    let mut helper = Process::start("helper", helper.args(["--stream", "x", "--", DEVICE]));
    helper.says("here", 1, LIMIT);
    agent.kill();
    assert_eq!(helper.ends(LIMIT).code(), Some(75));
    assert!(helper.stderr().starts_with("iotstream: error: "), "{}", helper.stderr());
    let last = run(sandbox.iotstream().arg("last"), Stdin::Ends(b""), LIMIT).succeeded();
    assert!(last.text().contains("error: "), "{}", last.text());
}

#[test]
fn a_stream_that_ends_before_its_first_byte_is_reported_as_such() {
    let port = serve(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (mut agent, hub, sandbox) = device_with("hmi", port);
    let mut helper = hub.helper(&sandbox);
    let mut helper = Process::start("helper", helper.args(["--stream", "hmi", "--log-file", "log", DEVICE]));
    // Either side can be the first to join the stream.
    agent.says("stream 'hmi': open to", 1, LIMIT);
    says(&sandbox.path("log"), "the stream is up");
    agent.kill();
    assert_eq!(helper.ends(LIMIT).code(), Some(75));
    assert_eq!(helper.stdout(), "", "a silent caller of another stream is no ssh");
    let said = helper.stderr();
    let (error, hint) = said.split_once('\n').unwrap();
    assert_eq!(error, "iotstream: error: the device accepted the stream and ended it before the first byte");
    assert!(hint.contains("server behind the stream 'hmi'"), "{hint}");
}

#[track_caller]
fn says(file: &Path, text: &str) {
    eventually(LIMIT, || {
        let said = fs::read_to_string(file).unwrap_or_default();
        if said.contains(text) { Ok(()) } else { Err(format!("{} says '{text}': {said}", file.display())) }
    });
}

#[test]
fn a_command_substitution_with_ssh_f_returns_at_once() {
    let testbed = Testbed::start();
    let begin = Instant::now();
    let script = format!("x=$($SSH -f -N {DEVICE} 2>&1); echo \"[$x]\"");
    let done = run(&mut shell(&testbed, &script), Stdin::Ends(b""), LIMIT).succeeded();
    let took = begin.elapsed();
    assert_eq!(done.text(), "[]\n");
    assert!(took < Duration::from_secs(5), "{took:?}");
    testbed.helper();
}
