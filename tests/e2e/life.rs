//! How processes end, come back and share a machine: what is left after a kill, what fifty streams cost, and what can be
//! read where others look.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::{
    DEVICE, LIMIT, Process, Site, Stdin, device_with, echo_device, exchange, heavy, peak_rss_kib, run, serve,
};

/// Within this, nothing that belongs to a broken session may be left.
const GONE: Duration = Duration::from_secs(5);
/// Within this, whoever was restarted is in service again.
const BACK: Duration = Duration::from_secs(20);

/// An ssh session whose remote command has begun and lasts as long as its stdin.
fn session(site: &Site) -> Process {
    let mut ssh = site.openssh("ssh");
    let mut session = Process::start(&site.bench, "ssh", ssh.args([DEVICE, "echo up; exec cat"]));
    session.says("up", 1, LIMIT);
    session
}

#[track_caller]
fn reaches_the_device(site: &Site) {
    let done = run(site.openssh("ssh").args([DEVICE, "echo reached"]), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "reached\n");
}

#[test]
fn a_killed_ssh_leaves_nothing_behind() {
    let site = Site::start();
    session(&site).kill();
    site.bench.left_alone_with(GONE, &site.residents());
    reaches_the_device(&site);
}

#[test]
fn a_killed_helper_ends_ssh_and_leaves_nothing_behind() {
    let site = Site::start();
    let mut ssh = session(&site);
    rustix::process::kill_process(site.helper(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    site.bench.left_alone_with(GONE, &site.residents());
    reaches_the_device(&site);
}

#[test]
fn a_killed_agent_ends_its_sessions_and_is_back_when_restarted() {
    let mut site = Site::start();
    let mut ssh = session(&site);
    site.agent.kill();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    site.bench.left_alone_with(GONE, &[&site.sshd.process, &site.hub.process]);
    site.restart_agent();
    reaches_the_device(&site);
}

#[test]
fn a_killed_hub_ends_its_sessions_and_the_agent_finds_it_when_restarted() {
    let mut site = Site::start();
    let mut ssh = session(&site);
    site.hub.process.kill();
    assert_eq!(ssh.ends(GONE).code(), Some(255));
    site.bench.left_alone_with(GONE, &[&site.agent, &site.sshd.process]);
    site.hub.restart(&site.bench);
    site.agent.says("in service", 2, BACK);
    reaches_the_device(&site);
}

#[test]
fn fifty_streams_at_once_each_give_back_their_own_bytes() {
    const STREAMS: usize = 50;
    const LENGTH: u64 = 4 << 20;
    let _turn = heavy();
    let (agent, hub, bench) = echo_device("echo");
    let helper_peak_kib = thread::scope(|scope| {
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                let (hub, bench) = (&hub, &bench);
                scope.spawn(move || {
                    let mut helper = hub.helper(bench);
                    helper.args([
                        "--connect-timeout",
                        "60s",
                        "--response-timeout",
                        "60s",
                        "--stream",
                        "echo",
                    ]);
                    let done = exchange(helper.arg(DEVICE), LENGTH, Duration::from_secs(180));
                    assert_eq!(done.received, done.sent);
                    assert_eq!((done.beyond, done.status.code()), (0, Some(0)));
                    done.peak_rss_kib
                })
            })
            .collect();
        streams.into_iter().map(|stream| stream.join().unwrap()).max().unwrap()
    });
    let agent_peak_kib = peak_rss_kib(agent.pid());
    // Past the test runner's capture: the numbers are worth seeing when all is well.
    writeln!(
        io::stderr(),
        "{STREAMS} streams: peak RSS of the agent {agent_peak_kib} KiB, of a helper {helper_peak_kib} KiB"
    )
    .unwrap();
    assert!(helper_peak_kib < 64 << 10, "a helper took {helper_peak_kib} KiB");
    assert!(agent_peak_kib < 256 << 10, "the agent took {agent_peak_kib} KiB");
}

/// A server that says `text` and ends its side.
fn says(text: &'static str) -> u16 {
    serve(move |mut stream: TcpStream| {
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Until the client is gone: closing earlier could take back what was written.
        let _ = io::copy(&mut stream, &mut io::sink());
    })
}

#[test]
fn stdout_carries_nothing_but_the_stream_however_much_is_logged() {
    const TEXT: &str = "exactly this\nand no more";
    let (_agent, hub, bench) = device_with("text", says(TEXT));
    for verbosity in [&["-q"][..], &[], &["-v"], &["-vv"], &["-vv", "--log-file", "helper.log"]] {
        let mut helper = hub.helper(&bench);
        let done = run(helper.args(verbosity).args(["--stream", "text", DEVICE]), Stdin::Stays(b""), LIMIT);
        assert_eq!(done.text(), TEXT, "{verbosity:?}");
        assert_eq!(done.status.code(), Some(0), "{verbosity:?}: {}", done.stderr);
        let silent = !verbosity.iter().any(|option| option.starts_with("-v"));
        assert_eq!(done.stderr.is_empty(), silent, "{verbosity:?}: {}", done.stderr);
    }
}

#[track_caller]
fn holds_no_secret(place: &str, text: &str, keys: &[String]) {
    assert!(!text.is_empty(), "there is nothing to look at in {place}");
    // `eyJ` begins every JSON web token.
    for secret in keys.iter().map(String::as_str).chain(["sig=", "eyJ"]) {
        assert!(!text.contains(secret), "{place} holds {secret}: {text}");
    }
}

#[test]
fn no_secret_shows_in_command_lines_or_in_logs() {
    let (agent, hub, bench) = echo_device("echo");
    let keys = hub.keys();
    assert_eq!(keys.len(), 2, "one of the service, one of the device");
    let mut helper = hub.helper(&bench);
    helper.args(["-vv", "--log-file", "helper.log", "--stream", "echo", DEVICE]);
    let log = bench.path("helper.log");
    let mut helper = Process::start(&bench, "helper", &mut helper);
    helper.say("echoed\n");
    helper.says("echoed", 1, LIMIT);

    let seen = bench.processes(&[]);
    assert!(seen.len() >= 3, "hub, agent and helper: {seen:?}");
    for seen in seen {
        holds_no_secret("a command line", &seen.cmdline, &keys);
    }
    helper.close_stdin();
    assert_eq!(helper.ends(LIMIT).code(), Some(0), "{}", helper.stderr());
    holds_no_secret("the helper's stderr", &helper.stderr(), &keys);
    holds_no_secret("the helper's log", &std::fs::read_to_string(log).unwrap(), &keys);
    holds_no_secret("the agent's stderr", &agent.stderr(), &keys);
    holds_no_secret("the hub's stderr", &hub.process.stderr(), &keys);
}
