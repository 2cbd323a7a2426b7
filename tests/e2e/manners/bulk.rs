//! Shells and pipelines around ssh: nothing hangs, and every byte arrives.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{DEVICE, Finished, LIMIT, Site, Stdin, heavy, need, random, run, sha256};

const LONG: Duration = Duration::from_secs(300);
const SIZE: usize = 100 << 20;

/// Runs `script`, in which `ssh` is ssh with the configuration.
#[track_caller]
fn shell(site: &Site, script: &str, limit: Duration) -> Finished {
    let config = site.bench.path("ssh_config");
    let ssh = format!("ssh() {{ {} -F {} \"$@\"; }}\n", need("ssh").display(), config.display());
    let mut shell: Command = site.bench.command("sh");
    run(shell.arg("-c").arg(ssh + script), Stdin::Ends(b""), limit).succeeded()
}

#[test]
fn a_shell_gets_past_an_ssh_that_goes_into_the_background() {
    let site = Site::start();
    let begin = Instant::now();
    let done = shell(&site, &format!("x=$(ssh -f -N {DEVICE} 2>&1); echo \"[$x]\""), LIMIT);
    let took = begin.elapsed();
    assert_eq!(done.text(), "[]\n");
    assert!(took < Duration::from_secs(5), "{took:?}");
    site.helper();
}

#[test]
fn every_byte_reaches_a_reader_that_begins_late() {
    let _turn = heavy();
    let site = Site::start();
    let done = shell(&site, &format!("ssh {DEVICE} 'head -c {SIZE} /dev/zero' | (sleep 2; wc -c)"), LONG);
    assert_eq!(done.text().trim(), SIZE.to_string());
}

#[test]
fn a_file_comes_back_unchanged() {
    let _turn = heavy();
    let site = Site::start();
    let content = random(SIZE);
    let file = site.bench.write("file", &content);
    let done = shell(&site, &format!("ssh {DEVICE} cat < {} | sha256sum", file.display()), LONG);
    assert_eq!(done.text().split_whitespace().next(), Some(&*sha256(&content)));
}
