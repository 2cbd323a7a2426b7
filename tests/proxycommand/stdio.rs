//! stdin, stdout and stderr: stdout carries stream bytes only, every byte arrives, and descriptors that are shared with
//! other programs keep their flags.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::pipe::fcntl_getpipe_size;

use crate::support::{
    DEVICE, Finished, LIMIT, Stdin, Testbed, device_with, echo_device, eventually, heavy, need, random, run,
    serve, sha256,
};

const LONG: Duration = Duration::from_secs(300);
const SIZE: usize = 100 << 20;

/// Runs `script`, in which `ssh` is ssh with the configuration.
#[track_caller]
fn shell(testbed: &Testbed, script: &str, limit: Duration) -> Finished {
    let config = testbed.sandbox.path("ssh_config");
    let ssh = format!("ssh() {{ {} -F {} \"$@\"; }}\n", need("ssh").display(), config.display());
    let mut shell: Command = testbed.sandbox.command("sh");
    run(shell.arg("-c").arg(ssh + script), Stdin::Ends(b""), limit).succeeded()
}

#[test]
fn every_byte_reaches_a_reader_that_starts_late() {
    let _turn = heavy();
    let testbed = Testbed::start();
    let done = shell(&testbed, &format!("ssh {DEVICE} 'head -c {SIZE} /dev/zero' | (sleep 2; wc -c)"), LONG);
    assert_eq!(done.text().trim(), SIZE.to_string());
}

#[test]
fn a_file_comes_back_unchanged() {
    let _turn = heavy();
    let testbed = Testbed::start();
    let content = random(SIZE);
    let file = testbed.sandbox.write("file", &content);
    let done = shell(&testbed, &format!("ssh {DEVICE} cat < {} | sha256sum", file.display()), LONG);
    assert_eq!(done.text().split_whitespace().next(), Some(&*sha256(&content)));
}

/// A server that sends `text` and ends its side.
fn says(text: &'static str) -> u16 {
    serve(move |mut stream: TcpStream| {
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Until the client disconnects: closing earlier could reset the connection and lose bytes.
        let _ = io::copy(&mut stream, &mut io::sink());
    })
}

#[test]
fn stdout_carries_only_the_stream_at_every_log_level() {
    const TEXT: &str = "exactly this\nand no more";
    let (_agent, hub, sandbox) = device_with("text", says(TEXT));
    for verbosity in [&["-q"][..], &[], &["-v"], &["-vv"], &["-vv", "--log-file", "helper.log"]] {
        let mut helper = hub.helper(&sandbox);
        let done = run(helper.args(verbosity).args(["--stream", "text", DEVICE]), Stdin::Stays(b""), LIMIT);
        assert_eq!(done.text(), TEXT, "{verbosity:?}");
        assert_eq!(done.status.code(), Some(0), "{verbosity:?}: {}", done.stderr);
        let silent = !verbosity.iter().any(|option| option.starts_with("-v"));
        assert_eq!(done.stderr.is_empty(), silent, "{verbosity:?}: {}", done.stderr);
    }
}

#[test]
fn stdout_and_stderr_may_be_files() {
    let (_agent, hub, sandbox) = echo_device("echo");
    let mut shell = sandbox.command("sh");
    shell.args(["-c", "exec \"$@\" >stdout 2>stderr", "sh"]);
    let helper = hub.helper(&sandbox);
    shell.arg(helper.get_program()).args(helper.get_args()).args(["-v", "--stream", "echo", DEVICE]);
    let content = random(1 << 20);
    run(&mut shell, Stdin::Ends(&content), LIMIT).succeeded();
    assert!(fs::read(sandbox.path("stdout")).unwrap() == content, "stdout is not what was sent");
    let stderr = fs::read_to_string(sandbox.path("stderr")).unwrap();
    assert!(stderr.contains("the stream is up"), "{stderr}");
}

fn is_blocking(fd: impl AsFd) -> bool {
    !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

#[test]
fn shared_descriptors_stay_in_blocking_mode() {
    let (_agent, hub, sandbox) = echo_device("ssh");
    let (stdin, mut into) = io::pipe().unwrap();
    let (mut out, stdout) = io::pipe().unwrap();
    let (mut err, stderr) = io::pipe().unwrap();
    let mut helper = hub.helper(&sandbox);
    // With -v the helper keeps stderr open.
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
fn the_stdin_pipe_is_small_on_a_line_of_unknown_speed() {
    let (_agent, hub, sandbox) = echo_device("ssh");
    let (stdin, mut into) = io::pipe().unwrap();
    let mut helper = hub.helper(&sandbox);
    let mut child = helper.arg(DEVICE).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
    into.write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert_eq!(fcntl_getpipe_size(&into).unwrap(), 16 * 1024);
    drop((into, helper));
    assert!(child.wait().unwrap().success());
}
