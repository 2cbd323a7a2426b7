//! The keys of a terminal reach ssh and the helper alike, and the helper leaves them to ssh.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::{
    DEVICE, INTERRUPT, LIMIT, Process, SUSPEND, Stdin, Terminal, Testbed, eventually, iotstream, is_running,
    need, random, run, sha256,
};

#[test]
fn ctrl_c_ends_only_its_own_session_of_a_control_master() {
    let testbed = Testbed::start();
    let config = testbed.sandbox.path("ssh_config");
    let socket = testbed.sandbox.path("control");
    let mut terminal = Terminal::open(&testbed.sandbox);
    terminal.types(&format!(
        "{} -F {} -S {} -o ControlMaster=auto -o ControlPersist=60 {DEVICE} 'echo con\"\"nected; exec sleep 600'\n",
        need("ssh").display(),
        config.display(),
        socket.display(),
    ));
    terminal.shows("connected");
    let ssh = |args: &[&str]| {
        let mut ssh = testbed.openssh("ssh");
        ssh.arg("-S").arg(&socket).args(args);
        ssh
    };
    let mut other = Process::start("other", &mut ssh(&[DEVICE, "echo up; exec cat"]));
    other.says("up", 1, LIMIT);
    let helper = testbed.helper();

    terminal.types(INTERRUPT);
    terminal.types_until("echo pro''mpt\n", "prompt");
    other.say("still here\n");
    other.says("still here", 1, LIMIT);
    let done = run(&mut ssh(&[DEVICE, "echo reached"]), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "reached\n");
    assert_eq!(testbed.helper(), helper, "all of them are sessions of one helper");
    run(&mut ssh(&["-O", "exit", DEVICE]), Stdin::Ends(b""), LIMIT).succeeded();
}

#[test]
fn ctrl_c_keeps_the_sftp_session() {
    let testbed = Testbed::start();
    let mut terminal = Terminal::open(&testbed.sandbox);
    terminal.types(&format!(
        "{} -F {} {DEVICE}\n",
        need("sftp").display(),
        testbed.sandbox.path("ssh_config").display()
    ));
    terminal.types("pwd\n");
    terminal.shows("Remote working directory");
    let helper = testbed.helper();
    terminal.types(INTERRUPT);
    fs::create_dir(testbed.sandbox.path("a-new-folder")).unwrap();
    terminal.types_until(&format!("ls {}\n", testbed.sandbox.path("").display()), "a-new-folder");
    assert_eq!(testbed.helper(), helper);
}

#[test]
fn ctrl_z_suspends_scp_but_not_the_helper_and_the_copy_completes() {
    let testbed = Testbed::start();
    testbed.configure("--keepalive 2s");
    let sent = random(3 << 20);
    let (here, there) = (testbed.sandbox.write("here", &sent), testbed.sandbox.path("there"));
    let mut terminal = Terminal::open(&testbed.sandbox);
    // About half a megabyte a second.
    terminal.types(&format!(
        "{} -q -l 4000 -F {} {} {DEVICE}:{}\n",
        need("scp").display(),
        testbed.sandbox.path("ssh_config").display(),
        here.display(),
        there.display()
    ));
    eventually(LIMIT, || match fs::metadata(&there) {
        Ok(there) if there.len() > 0 => Ok(()),
        seen => Err(format!("the copy has begun: {seen:?}")),
    });
    terminal.types(SUSPEND);
    terminal.shows("Stopped");
    // Several keepalive intervals.
    thread::sleep(Duration::from_secs(10));
    assert!(is_running(testbed.helper()), "the helper is stopped, too");
    assert!(fs::metadata(&there).unwrap().len() < sent.len() as u64, "it was over before it was stopped");
    terminal.types("fg; echo en''ded $?\n");
    terminal.shows("ended 0");
    assert_eq!(sha256(&fs::read(&there).unwrap()), sha256(&sent));
}

#[test]
fn an_error_in_a_session_ends_its_lines_with_crlf_on_a_raw_terminal() {
    let mut testbed = Testbed::start();
    let mut terminal = Terminal::open(&testbed.sandbox);
    terminal.types(&format!(
        "{} -F {} -tt {DEVICE} 'echo con\"\"nected; exec cat'\n",
        need("ssh").display(),
        testbed.sandbox.path("ssh_config").display()
    ));
    terminal.shows("connected");
    testbed.agent.kill();
    terminal.shows("iotstream: hint: ");
    let text = terminal.text();
    let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| line.contains("iotstream: ")).collect();
    assert_eq!(lines.len(), 2, "an error and a hint: {text}");
    assert!(lines.iter().all(|line| line.ends_with("\r\n")), "{lines:?}");
}

#[test]
fn a_failure_appears_once_on_a_terminal() {
    let mut testbed = Testbed::start();
    testbed.agent.kill();
    testbed.configure("--connect-timeout 1s");
    let mut terminal = Terminal::open(&testbed.sandbox);
    let ssh = format!("{} -F {}", need("ssh").display(), testbed.sandbox.path("ssh_config").display());
    terminal.types(&format!("{ssh} {DEVICE}; echo en''ded $?\n"));
    terminal.shows("ended 255");
    let text = terminal.text();
    assert_eq!(text.matches("404103").count(), 1, "{text}");
    assert!(
        text.contains("Received disconnect from UNKNOWN port 65535:7: iotstream: device dev-1"),
        "{text}"
    );

    // With -q, ssh itself prints nothing.
    terminal.types(&format!("{ssh} -q {DEVICE}; echo qui''et $?\n"));
    terminal.shows("quiet 255");
    let text = terminal.text();
    assert!(text.contains("iotstream: error: device dev-1 is not connected"), "{text}");
    assert_eq!(text.matches("Received disconnect").count(), 1, "{text}");

    // Run by hand, only the helper can report it: stdout goes to a program that is not ssh.
    let helper = format!("{} --config {}", iotstream(), testbed.hub.dir.join("profiles.toml").display());
    terminal.types(&format!("sleep 2 | {helper} --connect-timeout 1s {DEVICE} | wc -c; echo do''ne\n"));
    terminal.shows("done");
    let text = terminal.text();
    assert_eq!(text.matches("iotstream: error: device dev-1 is not connected").count(), 2, "{text}");
}

#[test]
fn a_wait_is_announced_once_on_a_line_of_its_own() {
    let mut testbed = Testbed::start();
    testbed.agent.kill();
    testbed.configure("--wait 60s --connect-timeout 1s");
    let mut terminal = Terminal::open(&testbed.sandbox);
    terminal.types(&format!(
        "{} -F {} {DEVICE} 'echo rea\"\"ched'\n",
        need("ssh").display(),
        testbed.sandbox.path("ssh_config").display()
    ));
    terminal.shows("waiting for up to 1m");
    testbed.restart_agent();
    terminal.shows("reached");
    let text = terminal.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("iotstream: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("iotstream: device dev-1 is not connected"), "{text}");
}
