//! The harness itself: a real sshd answers, and what a session leaves behind is seen.

use std::process::Command;
use std::time::Duration;

use crate::support::{Bench, Finished, LIMIT, SshFiles, Sshd, Stdin, need, run, ssh_config};

#[track_caller]
fn finish(command: &mut Command) -> Finished {
    run(command, Stdin::Ends(b""), LIMIT)
}

#[test]
fn the_fixture_itself_works() {
    let bench = Bench::new();
    let files = SshFiles::make(&bench);
    let sshd = Sshd::start(&bench, &files);
    let through_nc = format!("{} 127.0.0.1 {}", need("nc").display(), sshd.port);
    let config = ssh_config(&bench, &files, "nc_config", &through_nc);
    let mut ssh = bench.command(need("ssh"));
    let done = run(ssh.arg("-F").arg(config).args(["anything", "cat; exit 7"]), Stdin::Ends(b"x"), LIMIT);
    assert_eq!((done.status.code(), done.text()), (Some(7), "x"), "{}", done.stderr);
    bench.left_alone_with(Duration::from_secs(5), &[&sshd.process]);
}

#[test]
fn the_fixture_sees_what_a_session_leaves_behind() {
    let bench = Bench::new();
    let files = SshFiles::make(&bench);
    let sshd = Sshd::start(&bench, &files);
    let through_nc = format!("{} 127.0.0.1 {}", need("nc").display(), sshd.port);
    let config = ssh_config(&bench, &files, "nc_config", &through_nc);
    let mut ssh = bench.command(need("ssh"));
    finish(ssh.arg("-F").arg(config).args(["anything", "sleep 600 </dev/null >/dev/null 2>&1 &"]))
        .succeeded();
    let left = bench.processes(&[&sshd.process]);
    assert!(left.iter().any(|seen| seen.cmdline.contains("sleep 600")), "{left:?}");
}
