//! What users run: ssh, scp, sftp, rsync and git, each through a hub, a device and its sshd.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{
    Bench, DEVICE, Finished, LIMIT, Process, Site, SshFiles, Sshd, Stdin, agent_with_config, eventually,
    exchange, fill_tree, heavy, need, random, run, serve_unix, sha256, ssh_config, tree_sha256,
};

/// For the transfers that take minutes on a slow machine.
const LONG: Duration = Duration::from_secs(300);

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

#[test]
fn ssh_reports_the_remote_exit_status() {
    let site = Site::start();
    finish(site.openssh("ssh").args([DEVICE, "true"])).succeeded();
    let done = finish(site.openssh("ssh").args([DEVICE, "exit 7"]));
    assert_eq!(done.status.code(), Some(7), "{}", done.stderr);
}

#[test]
fn ssh_passes_the_end_of_stdin_on() {
    let site = Site::start();
    let done = run(site.openssh("ssh").args([DEVICE, "cat"]), Stdin::Ends(b"x"), LIMIT).succeeded();
    assert_eq!(done.text(), "x");
}

#[test]
fn ssh_keeps_stdout_and_stderr_apart_and_the_helper_adds_nothing() {
    let site = Site::start();
    let done = finish(site.openssh("ssh").args([DEVICE, "echo out; echo err >&2"])).succeeded();
    assert_eq!((done.text(), done.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn ssh_gives_the_command_a_terminal_on_request() {
    let site = Site::start();
    let done = finish(site.openssh("ssh").args(["-tt", DEVICE, "test -t 0 && echo a terminal"])).succeeded();
    assert_eq!(done.text().trim_end(), "a terminal");
}

#[test]
fn a_session_leaves_nothing_behind() {
    let site = Site::start();
    finish(site.openssh("ssh").args([DEVICE, "true"])).succeeded();
    site.bench.left_alone_with(Duration::from_secs(5), &site.residents());
}

#[test]
fn a_host_pattern_of_the_profile_names_the_device() {
    let site = Site::start();
    let profiles = site.bench.write(
        "mine.toml",
        format!(
            "[profile.factory]\nconnection-string = \"{}\"\nca-file = \"{}\"\nhosts = [\"*.factory\"]\n",
            site.hub.service_connection_string(),
            site.hub.dir.join("ca.pem").display(),
        ),
    );
    let helper = format!("\"{}\" --config {} \"%h\"", env!("CARGO_BIN_EXE_iotstream"), profiles.display());
    let config = ssh_config(&site.bench, &site.files, "factory_config", &helper);
    let mut ssh = site.bench.command(need("ssh"));
    let done = finish(ssh.arg("-F").arg(config).args(["dev-1.factory", "echo reached"])).succeeded();
    assert_eq!(done.text(), "reached\n");
}

#[test]
fn a_port_asks_for_its_own_stream() {
    let site = Site::start();
    finish(site.openssh("ssh").args(["-p", "2222", DEVICE, "true"])).succeeded();
    let done = finish(site.openssh("ssh").args(["-p", "2223", DEVICE, "true"]));
    assert_eq!(done.status.code(), Some(255));
    assert!(done.stderr.contains("tcp-2223"), "{}", done.stderr);
}

#[test]
fn scp_carries_files_both_ways() {
    let site = Site::start();
    let sent = random(8 << 20);
    let (here, there, back) =
        (site.bench.write("here", &sent), site.bench.path("there"), site.bench.path("back"));
    let remote = format!("{DEVICE}:{}", there.display());
    // The SFTP protocol, and the one before it.
    for protocol in ["-s", "-O"] {
        finish(site.openssh("scp").args(["-q", protocol]).arg(&here).arg(&remote)).succeeded();
        finish(site.openssh("scp").args(["-q", protocol]).arg(&remote).arg(&back)).succeeded();
        for copy in [&there, &back] {
            assert_eq!(sha256(&fs::read(copy).unwrap()), sha256(&sent), "{protocol} {}", copy.display());
            fs::remove_file(copy).unwrap();
        }
    }
}

#[test]
fn sftp_runs_a_batch() {
    let site = Site::start();
    let sent = random(100_000);
    site.bench.write("here", &sent);
    let there = site.bench.path("there");
    fs::create_dir(&there).unwrap();
    let batch = format!("cd {}\nput here put\nls -1\nget put back\n", there.display());
    let batch = site.bench.write("batch", batch);
    let done = finish(site.openssh("sftp").arg("-b").arg(batch).arg(DEVICE)).succeeded();
    assert!(done.text().lines().any(|line| line.trim() == "put"), "{}", done.text());
    assert_eq!(fs::read(there.join("put")).unwrap(), sent);
    assert_eq!(fs::read(site.bench.path("back")).unwrap(), sent);
}

#[test]
fn rsync_mirrors_a_tree_both_ways_and_then_has_nothing_to_do() {
    let _turn = heavy();
    let site = Site::start();
    let (here, there, back) = (site.bench.path("here"), site.bench.path("there"), site.bench.path("back"));
    fill_tree(&here, 2000);
    let (here_arg, back_arg) = (format!("{}/", here.display()), back.display().to_string());
    let remote = format!("{DEVICE}:{}", there.display());
    let remote_content = format!("{remote}/");
    for (from, to, copy) in [(&here_arg, &remote, &there), (&remote_content, &back_arg, &back)] {
        let sync = || {
            let mut rsync = site.over_ssh("rsync", "RSYNC_RSH");
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
    let site = Site::start();
    let git = |args: &[&str]| {
        let mut git = site.over_ssh("git", "GIT_SSH_COMMAND");
        git.env("GIT_CONFIG_NOSYSTEM", "1");
        git.args(["-c", "user.name=A Tester", "-c", "user.email=tester@example.com"]);
        finish(git.args(args)).succeeded().text().trim().to_owned()
    };
    git(&["init", "-q", "--bare", "-b", "main", "origin"]);
    git(&["init", "-q", "-b", "main", "seed"]);
    fill_tree(&site.bench.path("seed"), 100);
    git(&["-C", "seed", "add", "."]);
    git(&["-C", "seed", "commit", "-q", "-m", "Seed"]);
    git(&["-C", "seed", "push", "-q", "../origin", "main"]);

    let origin = format!("{DEVICE}:{}", site.bench.path("origin").display());
    git(&["clone", "-q", &origin, "clone"]);
    assert_eq!(git(&["-C", "clone", "rev-parse", "HEAD"]), git(&["-C", "seed", "rev-parse", "HEAD"]));
    fs::write(site.bench.path("clone/new"), random(1 << 20)).unwrap();
    git(&["-C", "clone", "add", "."]);
    git(&["-C", "clone", "commit", "-q", "-m", "Grow"]);
    git(&["-C", "clone", "push", "-q", "origin", "main"]);
    assert_eq!(git(&["-C", "origin", "rev-parse", "main"]), git(&["-C", "clone", "rev-parse", "HEAD"]));
}

#[test]
fn sessions_of_a_control_master_share_one_stream() {
    let site = Site::start();
    let socket = site.bench.path("control");
    let ssh = |args: &[&str]| {
        let mut ssh = site.openssh("ssh");
        ssh.arg("-S").arg(&socket).args(args);
        ssh
    };
    let mut master = Process::start(&site.bench, "master", &mut ssh(&["-M", "-N", DEVICE]));
    eventually(LIMIT, || {
        let check = finish(&mut ssh(&["-O", "check", DEVICE]));
        if check.status.success() { Ok(()) } else { Err(check.stderr) }
    });
    let mut sessions: Vec<Process> = (0..3)
        .map(|_| Process::start(&site.bench, "session", &mut ssh(&[DEVICE, "echo up; exec cat"])))
        .collect();
    for session in &mut sessions {
        session.says("up", 1, LIMIT);
    }
    let helpers = site.helpers();
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    drop(sessions);
    finish(&mut ssh(&["-O", "exit", DEVICE])).succeeded();
    master.ends(LIMIT);
    site.bench.left_alone_with(Duration::from_secs(5), &site.residents());
}

#[test]
fn sixteen_ssh_at_once_each_get_their_own_answer() {
    let _turn = heavy();
    let site = Site::start();
    thread::scope(|scope| {
        for number in 0..16 {
            let site = &site;
            scope.spawn(move || {
                let echo = format!("echo {number}; cat");
                let done =
                    run(site.openssh("ssh").args([DEVICE, &echo]), Stdin::Ends(b"in"), LONG).succeeded();
                assert_eq!(done.text(), format!("{number}\nin"));
            });
        }
    });
}

#[test]
fn a_quarter_of_a_gigabyte_comes_through_both_ways_unchanged() {
    let _turn = heavy();
    let site = Site::start();
    let done = exchange(site.openssh("ssh").args([DEVICE, "cat"]), 256 << 20, LONG);
    assert_eq!(done.received, done.sent);
    assert_eq!((done.beyond, done.status.code()), (0, Some(0)));
}

#[test]
fn a_target_may_be_a_unix_socket() {
    let site = Site::start_with(|bench, hub, _, port| {
        let socket = bench.path("sshd.socket");
        serve_unix(&socket, move |from_agent| {
            let sshd = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut up, mut down) = (from_agent.try_clone().unwrap(), from_agent);
            let (mut into_sshd, mut out_of_sshd) = (sshd.try_clone().unwrap(), sshd);
            // Either side may break off: then the copy ends, which is all there is to do.
            let forth = thread::spawn(move || {
                let _ = io::copy(&mut up, &mut into_sshd);
                let _ = into_sshd.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut out_of_sshd, &mut down);
            let _ = down.shutdown(Shutdown::Both);
            forth.join().unwrap();
        });
        let target = format!("[[target]]\nstream = \"ssh\"\nconnect = \"{}\"\n", socket.display());
        agent_with_config(bench, hub, DEVICE, &target)
    });
    let done = run(site.openssh("ssh").args([DEVICE, "cat"]), Stdin::Ends(b"x"), LIMIT).succeeded();
    assert_eq!(done.text(), "x");
}

#[test]
fn a_target_may_be_a_command() {
    let site = Site::start_with(|bench, hub, files, _| {
        let (sshd, config) = (files.sshd.display(), files.config.display());
        let target =
            format!("[[target]]\nstream = \"ssh\"\ncommand = [\"{sshd}\", \"-i\", \"-f\", \"{config}\"]\n");
        agent_with_config(bench, hub, DEVICE, &target)
    });
    let done = run(site.openssh("ssh").args([DEVICE, "cat; exit 7"]), Stdin::Ends(b"x"), LIMIT);
    assert_eq!((done.status.code(), done.text()), (Some(7), "x"), "{}", done.stderr);
    site.bench.left_alone_with(Duration::from_secs(5), &site.residents());
}

#[test]
fn the_demo_runs_a_session_and_exits_as_its_ssh_does() {
    let bench = Bench::new();
    let done = finish(bench.iotstream().args(["demo", "--", "echo shown; exit 7"]));
    assert_eq!(done.status.code(), Some(7), "{}", done.stderr);
    assert!(done.text().contains("shown\n"), "{}", done.text());
    let own = [("IOTSTREAM_PROFILE", "mine"), ("IOTSTREAM_CONFIG", "/nowhere"), ("IOTSTREAM_STREAM", "mine")];
    finish(bench.iotstream().arg("demo").envs(own)).succeeded();
    bench.left_alone_with(Duration::from_secs(5), &[]);
}
