//! However ssh ends, the helper ends too, and delivers what it was given.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::{
    DEVICE, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, agent, eventually, need, run, serve, timed,
};

/// The limit within which a helper ends after a signal or the end of ssh.
const SOON: Duration = Duration::from_secs(1);

/// `ssh` under nohup, which keeps SIGHUP from it and from its helper.
fn nohup(testbed: &Testbed) -> Command {
    let mut nohup = testbed.sandbox.command("nohup");
    nohup.arg(need("ssh")).arg("-F").arg(testbed.sandbox.path("ssh_config"));
    nohup
}

#[track_caller]
fn no_helper_is_left(testbed: &Testbed) {
    eventually(SOON, || match &testbed.helpers()[..] {
        [] => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    });
}

#[test]
fn killing_ssh_in_a_session_leaves_no_helper() {
    let _quiet = timed();
    let testbed = Testbed::start();
    for mut ssh in [testbed.openssh("ssh"), nohup(&testbed)] {
        let mut ssh = Process::start("ssh", ssh.args([DEVICE, "echo up; exec cat"]));
        ssh.says("up", 1, LIMIT);
        testbed.helper();
        ssh.kill();
        no_helper_is_left(&testbed);
    }
}

#[test]
fn killing_ssh_while_the_helper_waits_for_the_device_leaves_no_helper() {
    let _quiet = timed();
    let mut testbed = Testbed::start();
    testbed.agent.kill();
    for (name, mut ssh) in [("ssh.log", testbed.openssh("ssh")), ("nohup.log", nohup(&testbed))] {
        let log = testbed.sandbox.path(name);
        testbed.configure(&format!("--connect-timeout 60s --log-file {}", log.display()));
        let mut ssh = Process::start("ssh", ssh.args([DEVICE, "true"]));
        // The helper has reached the hub, and now waits for the device.
        log_says(&log, "tls localhost");
        testbed.helper();
        ssh.kill();
        no_helper_is_left(&testbed);
    }
}

#[test]
fn killing_ssh_while_a_credential_command_runs_leaves_no_helper() {
    let _quiet = timed();
    let testbed = Testbed::start();
    let asked = testbed.sandbox.path("asked");
    let store = format!("touch {}; exec sleep 600", asked.display());
    let profile =
        format!("default = \"own\"\n[profile.own]\nconnection-string-command = {{ shell = {store:?} }}\n");
    std::fs::write(testbed.hub.dir.join("profiles.toml"), profile).unwrap();
    let mut ssh = Process::start("ssh", testbed.openssh("ssh").args([DEVICE, "true"]));
    eventually(LIMIT, || asked.exists().then_some(()).ok_or_else(|| "the store is asked".to_owned()));
    testbed.helper();
    ssh.kill();
    no_helper_is_left(&testbed);
}

#[test]
fn a_closed_stdout_ends_the_helper_while_stdin_is_open() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let port = serve(|mut stream| {
        // Until the helper ends.
        let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut stream);
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    let mut helper = hub.helper(&sandbox);
    let mut child = helper.arg(DEVICE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let status = eventually(LIMIT, || child.try_wait().unwrap().ok_or_else(|| "it ends".to_owned()));
    assert_eq!(status.code(), Some(74));
}

#[track_caller]
fn log_says(log: &std::path::Path, text: &str) {
    eventually(LIMIT, || {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        if said.contains(text) { Ok(()) } else { Err(format!("the log says '{text}': {said}")) }
    });
}

#[test]
fn sighup_does_not_end_a_session_under_nohup() {
    let testbed = Testbed::start();
    let mut ssh = nohup(&testbed);
    let mut ssh = Process::start("ssh", ssh.args([DEVICE, "echo up; exec cat"]).process_group(0));
    ssh.says("up", 1, LIMIT);
    let group = Pid::from_raw(ssh.pid().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::HUP).unwrap();
    // If the helper obeyed, it would end within a second.
    thread::sleep(2 * SOON);
    ssh.say("still here\n");
    ssh.says("still here", 1, LIMIT);
    ssh.close_stdin();
    assert_eq!(ssh.ends(LIMIT).code(), Some(0), "{}", ssh.stderr());
}

#[test]
fn ssh_reports_a_killed_server_as_closed_by_remote_host() {
    let testbed = Testbed::start();
    let mut ssh = testbed.openssh("ssh");
    let done = run(ssh.args([DEVICE, "kill -9 $PPID; sleep 1"]), Stdin::Stays(b""), LIMIT);
    assert_eq!(done.status.code(), Some(255), "{}", done.stderr);
    assert!(done.stderr.contains("closed by remote host"), "{}", done.stderr);
    assert!(!done.stderr.contains("Broken pipe"), "{}", done.stderr);
}

/// A terminal that is closed sends SIGHUP to all processes that were started in it, also to the helper of an ssh in the
/// background.
#[test]
fn sighup_does_not_end_a_session_in_the_background() {
    let testbed = Testbed::start();
    let socket = testbed.sandbox.path("control");
    let ssh = |args: &[&str]| {
        let mut ssh = testbed.openssh("ssh");
        ssh.arg("-S").arg(&socket).args(args).arg(DEVICE);
        heeding_hangups(&ssh)
    };
    run(&mut ssh(&["-M", "-f", "-N"]), Stdin::Ends(b""), LIMIT).succeeded();
    let helper = testbed.helper();
    kill_process(helper, Signal::HUP).unwrap();
    // If the helper obeyed, it would end within a second.
    thread::sleep(2 * SOON);
    assert_eq!(testbed.helper(), helper);
    run(&mut ssh(&["-O", "exit"]), Stdin::Ends(b""), LIMIT).succeeded();
    no_helper_is_left(&testbed);
}

#[test]
fn the_disconnect_message_reaches_the_server_over_a_slow_network() {
    let mut testbed = Testbed::with_hub(&["--inject", "latency=100ms"]);
    run(testbed.openssh("ssh").args([DEVICE, "true"]), Stdin::Ends(b""), LIMIT).succeeded();
    testbed.sshd.process.says("disconnected by user", 1, LIMIT);
    testbed.sandbox.leaves_only(LIMIT, &testbed.residents());
}

/// The same command with the default action for SIGHUP: under nohup it is ignored in the tests, and the helper would
/// ignore it, too.
fn heeding_hangups(command: &Command) -> Command {
    let mut heeding = Command::new("env");
    heeding.arg("--default-signal=HUP").arg(command.get_program()).args(command.get_args());
    heeding.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    heeding
}

#[test]
fn a_terminated_helper_delivers_its_input_and_exits_within_a_second() {
    const GIVEN: usize = 60_000;
    let _quiet = timed();
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "latency=50ms"]);
    let (tell, told) = mpsc::channel();
    let port = serve(move |mut stream| {
        let mut all = Vec::new();
        // A reset would lose bytes, and the count shows it.
        let _ = stream.read_to_end(&mut all);
        let _ = tell.send(all.len());
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("sink", port)]);
    for signal in [Signal::TERM, Signal::HUP] {
        let log = sandbox.path(format!("{signal:?}.log"));
        let mut helper = hub.helper(&sandbox);
        helper.args(["--stream", "sink", "--log-file"]).arg(&log).arg(DEVICE);
        let mut helper = Process::start("helper", &mut heeding_hangups(&helper));
        log_says(&log, "the stream is up");
        helper.say(&"x".repeat(GIVEN));
        helper.signal(signal);
        // Not 0, for stdin had not ended.
        assert_eq!(helper.ends(SOON).code(), Some(75), "{signal:?}");
        assert_eq!(told.recv_timeout(LIMIT), Ok(GIVEN), "{signal:?}");
    }
}
