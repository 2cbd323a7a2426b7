//! rsync and git over ssh.

use std::fs;
use std::time::Duration;

use crate::support::{DEVICE, Finished, Stdin, Testbed, fill_tree, finish, heavy, random, run, tree_sha256};

/// The limit of transfers, which take minutes on a slow machine.
const LONG: Duration = Duration::from_secs(300);

#[test]
fn rsync_mirrors_a_tree_both_ways_and_a_second_run_copies_nothing() {
    let _turn = heavy();
    mirrors_a_tree_with_rsync(&Testbed::start());
}

/// rsync mirrors 2000 files to the device and back, and a second run copies nothing.
pub fn mirrors_a_tree_with_rsync(testbed: &Testbed) {
    let (here, there, back) =
        (testbed.sandbox.path("here"), testbed.sandbox.path("there"), testbed.sandbox.path("back"));
    fill_tree(&here, 2000);
    let (here_arg, back_arg) = (format!("{}/", here.display()), back.display().to_string());
    let remote = format!("{DEVICE}:{}", there.display());
    let remote_content = format!("{remote}/");
    for (from, to, copy) in [(&here_arg, &remote, &there), (&remote_content, &back_arg, &back)] {
        let sync = || {
            let mut rsync = testbed.over_ssh("rsync", "RSYNC_RSH");
            run(rsync.args(["-a", "--itemize-changes", from, to]), Stdin::Ends(b""), LONG).succeeded()
        };
        let sent = |done: &Finished| done.text().lines().filter(|line| line.contains("file-")).count();
        assert_eq!(sent(&sync()), 2000, "{from} to {to}");
        assert_eq!(tree_sha256(copy), tree_sha256(&here), "{from} to {to}");
        assert_eq!(sync().text(), "", "{from} to {to} again");
    }
}

#[test]
fn git_clones_and_pushes() {
    clones_and_pushes_with_git(&Testbed::start());
}

/// git clones from the device, and pushes to it.
pub fn clones_and_pushes_with_git(testbed: &Testbed) {
    let git = |args: &[&str]| {
        let mut git = testbed.over_ssh("git", "GIT_SSH_COMMAND");
        git.env("GIT_CONFIG_NOSYSTEM", "1");
        git.args(["-c", "user.name=A Tester", "-c", "user.email=tester@example.com"]);
        finish(git.args(args)).succeeded().text().trim().to_owned()
    };
    git(&["init", "-q", "--bare", "-b", "main", "origin"]);
    git(&["init", "-q", "-b", "main", "seed"]);
    fill_tree(&testbed.sandbox.path("seed"), 100);
    git(&["-C", "seed", "add", "."]);
    git(&["-C", "seed", "commit", "-q", "-m", "Seed"]);
    git(&["-C", "seed", "push", "-q", "../origin", "main"]);

    let origin = format!("{DEVICE}:{}", testbed.sandbox.path("origin").display());
    git(&["clone", "-q", &origin, "clone"]);
    assert_eq!(git(&["-C", "clone", "rev-parse", "HEAD"]), git(&["-C", "seed", "rev-parse", "HEAD"]));
    fs::write(testbed.sandbox.path("clone/new"), random(1 << 20)).unwrap();
    git(&["-C", "clone", "add", "."]);
    git(&["-C", "clone", "commit", "-q", "-m", "Grow"]);
    git(&["-C", "clone", "push", "-q", "origin", "main"]);
    assert_eq!(git(&["-C", "origin", "rev-parse", "main"]), git(&["-C", "clone", "rev-parse", "HEAD"]));
}
