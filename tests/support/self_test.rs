//! The harness itself: a session through a real sshd works, and what it leaves behind is found.

use std::time::Duration;

use crate::support::{LIMIT, Sandbox, SshFiles, Sshd, Stdin, finish, need, run, ssh_config};

#[test]
fn a_session_through_netcat_works() {
    let sandbox = Sandbox::new();
    let files = SshFiles::make(&sandbox);
    let sshd = Sshd::start(&sandbox, &files);
    let through_nc = format!("{} 127.0.0.1 {}", need("nc").display(), sshd.port);
    let config = ssh_config(&sandbox, &files, "nc_config", &through_nc);
    let mut ssh = sandbox.command(need("ssh"));
    let done = run(ssh.arg("-F").arg(config).args(["anything", "cat; exit 7"]), Stdin::Ends(b"x"), LIMIT);
    assert_eq!((done.status.code(), done.text()), (Some(7), "x"), "{}", done.stderr);
    sandbox.leaves_only(Duration::from_secs(5), &[&sshd.process]);
}

#[test]
fn processes_that_a_session_leaves_behind_are_seen() {
    let sandbox = Sandbox::new();
    let files = SshFiles::make(&sandbox);
    let sshd = Sshd::start(&sandbox, &files);
    let through_nc = format!("{} 127.0.0.1 {}", need("nc").display(), sshd.port);
    let config = ssh_config(&sandbox, &files, "nc_config", &through_nc);
    let mut ssh = sandbox.command(need("ssh"));
    finish(ssh.arg("-F").arg(config).args(["anything", "sleep 600 </dev/null >/dev/null 2>&1 &"]))
        .succeeded();
    let left = sandbox.processes(&[&sshd.process]);
    assert!(left.iter().any(|seen| seen.cmdline.contains("sleep 600")), "{left:?}");
}
