//! The agent renews its token while streams are open.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::support::{
    DEVICE, LIMIT, Process, Stdin, Testbed, agent_with_config, eventually, heavy, random, run,
};

const RENEWALS: usize = 30;

/// Sends random bytes through an ssh session that echoes them, until `over` is set. Returns both hashes and the count.
fn transfer(testbed: &Testbed, over: &AtomicBool) -> (String, String, u64) {
    let mut ssh = testbed.openssh("ssh");
    ssh.args([DEVICE, "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let (mut hash, mut block) = (Sha256::new(), vec![0; 65_536]);
        loop {
            match stdout.read(&mut block).unwrap() {
                0 => return hash,
                count => hash.update(&block[..count]),
            }
        }
    });
    let (mut hash, mut sent) = (Sha256::new(), 0);
    while !over.load(Relaxed) {
        let chunk = random(16 << 10);
        hash.update(&chunk);
        stdin.write_all(&chunk).unwrap();
        sent += chunk.len() as u64;
    }
    drop(stdin);
    let received = reader.join().unwrap();
    assert!(child.wait().unwrap().success());
    let hex = |hash: Sha256| data_encoding::HEXLOWER.encode(&hash.finalize());
    (hex(hash), hex(received), sent)
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn thirty_renewals_lose_no_stream_and_no_byte() {
    // A token lives for 2 to 3 s and is renewed after 85 % of that, which leaves 300 ms: no other heavy test may run. The
    // bandwidth limit keeps the load of this one low.
    let _turn = heavy();
    let testbed = Testbed::start_with(|sandbox, hub, _, port| {
        let config = format!(
            "token-life = 3\nbandwidth = 2_000_000\n[[target]]\nstream = \"ssh\"\nconnect = \"127.0.0.1:{port}\"\n"
        );
        agent_with_config(sandbox, hub, DEVICE, &config)
    });
    let mut session = Process::start("ssh", testbed.openssh("ssh").args([DEVICE, "echo up; exec cat"]));
    session.says("up", 1, LIMIT);
    let over = AtomicBool::new(false);
    let mut opened = 0;
    let (sent, received, bytes) = std::thread::scope(|scope| {
        let transfer = scope.spawn(|| transfer(&testbed, &over));
        // A failure must not leave the transfer running.
        let _over = Over(&over);
        eventually(Duration::from_secs(180), || {
            assert!(!transfer.is_finished(), "the transfer has ended");
            // New streams are accepted during renewals.
            let echoed = format!("echo {opened}");
            let done =
                run(testbed.openssh("ssh").args([DEVICE, &echoed]), Stdin::Ends(b""), LIMIT).succeeded();
            assert_eq!(done.text().trim(), opened.to_string());
            opened += 1;
            let renewed = testbed.agent.stderr().matches("in service").count() - 1;
            if renewed >= RENEWALS { Ok(()) } else { Err(format!("{renewed} renewals")) }
        });
        over.store(true, Relaxed);
        transfer.join().unwrap()
    });
    assert_eq!(received, sent);
    session.say("still there\n");
    session.says("still there", 1, LIMIT);
    session.close_stdin();
    assert_eq!(session.ends(LIMIT).code(), Some(0), "{}", session.stderr());
    let said = testbed.agent.stderr();
    for trouble in ["trying again", "leaving:", "no answer"] {
        assert!(!said.contains(trouble), "{trouble}: {said}");
    }
    // Directly to stderr, which the test runner does not capture.
    writeln!(std::io::stderr(), "{RENEWALS} renewals: {bytes} bytes there and back, {opened} new streams")
        .unwrap();
}
