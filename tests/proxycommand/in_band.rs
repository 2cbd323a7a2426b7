//! ssh itself shows the user why a connection failed, whatever program runs ssh, and no other protocol gets that text.
//! `tests/snapshots/in_band/` holds what each program showed; `IOTSTREAM_REWRITE=1` rewrites it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::failing_connection::FailingConnection;
use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Process, Sandbox, Stdin, Testbed, agent, finish, need, run, serve,
};

/// What ssh prints before a server's disconnect message.
const SSH_SAYS: &str = "Received disconnect from UNKNOWN port 65535:";

/// ssh shows no more bytes of a server's text.
const LONGEST: usize = 400;

#[test]
fn a_device_that_is_offline_is_reported_in_band() {
    shown_once("device-offline", &FailingConnection::device_offline(), &["404103", "tracking id"]);
}

#[test]
fn an_unknown_device_is_reported_in_band() {
    shown_once("unknown-device", &FailingConnection::unknown_device(), &["404001", "tracking id"]);
}

#[test]
fn a_rejection_is_reported_in_band() {
    shown_once("rejected", &FailingConnection::rejected(), &["rejected"]);
}

#[test]
fn a_wrong_key_is_reported_in_band() {
    shown_once("wrong-key", &FailingConnection::wrong_key(), &["401", "tracking id"]);
}

#[test]
fn an_unreachable_hub_is_reported_in_band() {
    shown_once("hub-unreachable", &FailingConnection::hub_unreachable(), &["tcp"]);
}

#[test]
fn an_untrusted_certificate_is_reported_in_band() {
    shown_once("tls-not-trusted", &FailingConnection::tls_not_trusted(), &["not trusted"]);
}

#[test]
fn a_refusal_by_the_gateway_is_reported_in_band() {
    shown_once("gateway-refuses", &FailingConnection::gateway_refuses(), &["gateway", "401"]);
}

#[test]
fn throttling_is_reported_in_band() {
    shown_once("throttled", &FailingConnection::throttled(), &["429", "tracking id"]);
}

#[test]
fn a_server_that_hangs_up_at_once_is_reported_in_band() {
    let failing = FailingConnection::server_hangs_up();
    let done = run(failing.openssh("ssh").args([DEVICE, "true"]), Stdin::Ends(b""), LIMIT);
    let said = done.stderr.lines().filter(|line| line.starts_with(SSH_SAYS));
    let reason = "the device accepted the stream and ended it before the first byte";
    assert_eq!(said.filter(|line| line.contains(reason)).count(), 1, "{}", done.stderr);
}

#[test]
fn the_reason_arrives_within_a_connect_timeout_of_ten_seconds() {
    // As Ansible sets it. The helper cannot see this option, and has its own limits.
    let mut testbed = Testbed::start();
    testbed.agent.kill();
    let mut ssh = testbed.openssh("ssh");
    let done = run(ssh.args(["-o", "ConnectTimeout=10", DEVICE, "true"]), Stdin::Ends(b""), LIMIT);
    assert!(done.stderr.contains(SSH_SAYS) && done.stderr.contains("404103"), "{}", done.stderr);
}

/// Sends `opening` to a helper with the arguments `asks` whose hub throttles, and returns the helper's stdout.
fn answered(asks: &[&str], opening: Stdin<'_>) -> Vec<u8> {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "status=429"]);
    let mut helper = hub.helper(&sandbox);
    let profiles = hub.dir.join("profiles.toml");
    let ports = "[profile.emulator.ports]\n22 = \"hmi\"\n2022 = \"ssh\"\n";
    if asks.contains(&"--own-ports") {
        let text = fs::read_to_string(&profiles).unwrap();
        assert!(text.contains("[profile.emulator]"), "{text}");
        fs::write(&profiles, text + ports).unwrap();
    }
    helper.args(asks.iter().filter(|ask| **ask != "--own-ports"));
    let done = run(&mut helper, opening, LIMIT);
    assert_eq!(done.status.code(), Some(69), "{}", done.stderr);
    assert!(done.stderr.contains("throttles"), "{}", done.stderr);
    done.stdout
}

#[test]
fn an_ssh_client_is_answered_before_or_after_it_speaks() {
    const SPOKEN: Stdin<'_> = Stdin::Stays(b"SSH-2.0-OpenSSH_9.2\r\n");
    const SILENT: Stdin<'_> = Stdin::Stays(b"");
    let cases = vec![
        (&[DEVICE][..], SPOKEN),
        (&[DEVICE], SILENT),
        (&[DEVICE, "5901"], SPOKEN),
        (&["--stream", "ssh", DEVICE, "5901"], SILENT),
        (&["--own-ports", DEVICE, "22"], SPOKEN),
        (&["--own-ports", DEVICE, "2022"], SILENT),
    ];
    for answer in at_once(cases, |(asks, opening)| answered(asks, opening)) {
        assert!(answer.starts_with(b"SSH-2.0-iotstream\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn nothing_is_sent_in_band_to_another_protocol() {
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let cases = vec![
        (&[DEVICE][..], Stdin::Stays(b"GET / HTTP/1.1\r\n")),
        (&[DEVICE], Stdin::Stays(&hello)),
        (&[DEVICE], Stdin::Stays(b"SS")),
        (&[DEVICE], Stdin::Ends(b"")),
        // In these protocols the server may send first.
        (&[DEVICE, "5901"], Stdin::Stays(b"")),
        (&["--stream", "vnc", DEVICE], Stdin::Stays(b"")),
        (&["--own-ports", DEVICE, "22"], Stdin::Stays(b"")),
    ];
    for answer in at_once(cases, |(asks, opening)| answered(asks, opening)) {
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn an_ssh_client_that_speaks_once_the_stream_is_up_is_answered() {
    const SSH: &str = "SSH-2.0-client\r\n";
    let cases = vec![(true, SSH, true), (false, SSH, true), (true, "GET / HTTP/1.1\r\n", false)];
    at_once(cases, |(resets, opening, answered)| {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &["--device", DEVICE]);
        let port = serve(move |mut stream| {
            stream.read_exact(&mut vec![0; opening.len()]).unwrap();
            if resets {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
        let mut helper = hub.helper(&sandbox);
        let mut helper = Process::start("helper", helper.args(["-v", DEVICE]));
        helper.says("the stream is up", 1, LIMIT);
        helper.say(opening);
        assert_eq!(helper.ends(LIMIT).code(), Some(75), "{}", helper.stderr());
        let stdout = helper.stdout();
        assert_eq!(stdout.starts_with("SSH-2.0-iotstream\r\n"), answered, "{resets}: {stdout}");
        assert!(answered || stdout.is_empty(), "{stdout}");
    });
}

#[test]
fn nothing_is_sent_in_band_after_the_first_remote_byte() {
    const BANNER: &[u8] = b"SSH-2.0-device\r\n";
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE, "--inject", "cut=200"]);
    let port = serve(|mut stream| {
        stream.write_all(BANNER).unwrap();
        // The bytes from the other side reach the cut later.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let _agent = agent(&sandbox, &hub, DEVICE, &[("ssh", port)]);
    let mut helper = hub.helper(&sandbox);
    let mut helper = Process::start("helper", helper.arg(DEVICE));
    helper.say("SSH-2.0-client\r\n");
    helper.says("SSH-2.0-device", 1, LIMIT);
    helper.say(&"x".repeat(1000));
    assert_eq!(helper.ends(LIMIT).code(), Some(75));
    assert_eq!(helper.stdout().as_bytes(), BANNER);
}

/// Runs every program, and expects ssh's line once from each, with all of `says`, and the output that the snapshot
/// holds.
#[track_caller]
fn shown_once(name: &str, failing: &FailingConnection, says: &[&str]) {
    let mut seen: Vec<(Vec<&str>, String)> = Vec::new();
    let all = at_once(callers(failing), |(caller, mut command)| (caller, finish(&mut command)));
    for (caller, done) in all {
        let context = format!("{caller}: {}", done.stderr);
        assert!(!done.status.success(), "{context}");
        assert_eq!(done.text(), "", "{context}");
        let said: Vec<&str> = done.stderr.lines().filter_map(|line| line.strip_prefix(SSH_SAYS)).collect();
        if caller == "ssh -q" {
            assert_eq!(said.len(), 0, "{context}");
            assert!(done.stderr.starts_with("iotstream: error: "), "{context}");
        } else {
            let [said] = said[..] else { panic!("not once: {context}") };
            let (code, text) = said.split_once(": ").unwrap();
            assert!(code.parse::<u32>().is_ok() && text.starts_with("iotstream: "), "{context}");
            assert!(text.len() <= LONGEST, "{} bytes: {context}", text.len());
            for text in says {
                assert!(said.contains(text), "'{text}' is not said: {context}");
            }
        }
        let shown = shown(&done);
        match seen.last_mut() {
            Some((callers, before)) if *before == shown => callers.push(caller),
            _ => seen.push((vec![caller], shown)),
        }
    }
    failing.sandbox.leaves_only(Duration::from_secs(5), &failing.residents());
    let table = seen.iter().map(|(callers, shown)| format!("{}{shown}\n", callers.join(", ")));
    compare(name, &table.collect::<String>());
}

/// Does `work` with all cases at once, for it mostly waits.
fn at_once<T: Send, R: Send>(cases: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || work(case))).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    })
}

fn callers(failing: &FailingConnection) -> Vec<(&'static str, Command)> {
    let remote = format!("{}:there", failing.device);
    let with = |mut command: Command, args: &[&str]| {
        command.args(args);
        command
    };
    let ssh = |args: &[&str]| with(failing.openssh("ssh"), &[args, &[failing.device, "true"]].concat());
    let control = format!("ControlPath={}", failing.sandbox.path("control").display());
    let mut quiet = failing.sandbox.command(need("ssh"));
    quiet.arg("-F").arg(failing.sandbox.path("ssh_config")).args(["-q", failing.device, "true"]);
    vec![
        ("ssh", ssh(&[])),
        ("scp", with(failing.openssh("scp"), &["ssh_config", &remote])),
        ("sftp", with(failing.openssh("sftp"), &["-b", "/dev/null", failing.device])),
        ("rsync", with(failing.over_ssh("rsync", "RSYNC_RSH"), &["ssh_config", &remote])),
        ("git", with(failing.over_ssh("git", "GIT_SSH_COMMAND"), &["ls-remote", &remote])),
        // The helper's stderr is /dev/null here, and only ssh's line appears.
        ("ssh ControlPersist", ssh(&["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", &control])),
        ("ssh -q", quiet),
    ]
}

/// The lines of ssh and of the helper in a program's output, sorted, for two processes write them.
fn shown(done: &Finished) -> String {
    let mut lines: Vec<&str> = done.stderr.lines().map(str::trim_end).collect();
    lines.retain(|line| line.contains("UNKNOWN") || line.starts_with("iotstream: "));
    lines.sort_by_key(|line| line.starts_with("iotstream: "));
    lines.iter().map(|line| format!("\n    {}", normalised(line))).collect()
}

/// Replaces what differs in each run: ports of loopback addresses, and tracking ids.
fn normalised(line: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit();
    let line = replace_after(line, "localhost:", "PORT", is_digit);
    let line = replace_after(&line, "127.0.0.1:", "PORT", is_digit);
    replace_after(&line, "tracking id ", "ID", |c| c != ')')
}

/// Replaces the `part` characters that follow each `before` with `stand_in`.
fn replace_after(line: &str, before: &str, stand_in: &str, part: impl Fn(char) -> bool) -> String {
    let mut pieces = line.split(before);
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        replaced += &format!("{before}{stand_in}{}", piece.trim_start_matches(&part));
    }
    replaced
}

#[track_caller]
fn compare(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/in_band/{name}.txt"));
    if std::env::var_os("IOTSTREAM_REWRITE").is_some() {
        std::fs::write(&path, seen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(seen, expected, "{} is rewritten with IOTSTREAM_REWRITE=1", path.display());
}
