//! OpenSSH, rsync and git over Azure Relay, with our helper, agent and emulator, and with ends that speak as azbridge does.

use std::process::Command;
use std::time::Duration;

use super::openssh::{
    answers_sessions_at_once, copies_with_scp, echoes_a_quarter_of_a_gigabyte, passes_on_the_end_of_stdin,
    reports_the_exit_status, runs_an_sftp_batch,
};
use super::rsync_and_git::{clones_and_pushes_with_git, mirrors_a_tree_with_rsync};
use super::witness::python::witness;
use crate::support::{
    DEVICE, Finished, Namespace, Process, Sandbox, Testbed, configure_relay, exchange, finish, heavy,
    relay_agent_with_config, ssh_config,
};

/// The limit of transfers, which take minutes on a slow machine.
const LONG: Duration = Duration::from_secs(300);

/// Of a helper.
const UNAVAILABLE: i32 = 69;

#[test]
fn ssh_reports_the_remote_exit_status_over_relay() {
    reports_the_exit_status(&Testbed::over_relay());
}

#[test]
fn ssh_passes_on_the_end_of_stdin_over_relay() {
    passes_on_the_end_of_stdin(&Testbed::over_relay());
}

#[test]
fn a_session_over_relay_leaves_nothing_behind() {
    let testbed = Testbed::over_relay();
    finish(testbed.openssh("ssh").args([DEVICE, "true"])).succeeded();
    testbed.sandbox.leaves_only(Duration::from_secs(5), &testbed.residents());
}

#[test]
fn scp_carries_files_both_ways_over_relay() {
    copies_with_scp(&Testbed::over_relay());
}

#[test]
fn sftp_runs_a_batch_over_relay() {
    runs_an_sftp_batch(&Testbed::over_relay());
}

#[test]
fn rsync_mirrors_a_tree_over_relay() {
    let _turn = heavy();
    mirrors_a_tree_with_rsync(&Testbed::over_relay());
}

#[test]
fn git_clones_and_pushes_over_relay() {
    clones_and_pushes_with_git(&Testbed::over_relay());
}

#[test]
fn fifty_simultaneous_sessions_over_relay_each_get_their_own_answer() {
    let _turn = heavy();
    answers_sessions_at_once(&Testbed::over_relay(), 50);
}

#[test]
fn a_quarter_of_a_gigabyte_passes_both_ways_over_relay() {
    let _turn = heavy();
    echoes_a_quarter_of_a_gigabyte(&Testbed::over_relay());
}

#[test]
fn a_gigabyte_passes_both_ways_in_one_stream_over_relay() {
    let _turn = heavy();
    let sandbox = Sandbox::new();
    let namespace = Namespace::emulator(&sandbox, &[]);
    let _agent = namespace.agent_with_config(&sandbox, "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\n");
    let done = exchange(namespace.helper(&sandbox).args(["--stream", "echo"]).arg(DEVICE), 1 << 30, LONG);
    assert_eq!(done.received, done.sent);
    assert_eq!((done.beyond, done.status.code()), (0, Some(0)));
}

mod azbridge {
    use super::*;

    /// A device whose agent speaks as azbridge's listener, and a user whose helper speaks as its sender.
    fn testbed() -> Testbed {
        let testbed = Testbed::over_relay_with(|sandbox, hub, port| {
            let target =
                |stream| format!("[[target]]\nstream = \"{stream}\"\nconnect = \"127.0.0.1:{port}\"\n");
            let targets: String = ["ssh", "tcp-2222", "named"].into_iter().map(target).collect();
            let config = format!("{targets}[relay]\npreamble = \"azbridge\"\n");
            relay_agent_with_config(sandbox, &hub.dir, &config)
        });
        configure_relay(&testbed.hub.dir, "preamble = \"azbridge\"");
        testbed
    }

    /// The command line of a witness at the testbed's namespace.
    fn at_namespace(testbed: &Testbed, script: &str, file: &str) -> Command {
        let mut command = witness(&testbed.sandbox, script);
        command.arg("--connection-string-file").arg(testbed.hub.dir.join("relay").join(file));
        command.arg("--ca-file").arg(testbed.hub.dir.join("ca.pem"));
        command
    }

    /// Runs a command by ssh over a sender in Python that proposes `port_name`.
    fn ssh_over_python(testbed: &Testbed, port_name: &str) -> Finished {
        let mut sender = at_namespace(testbed, "relay_sender.py", "send.conn");
        sender.args(["--entity", DEVICE, "--preamble", port_name, "--sink", "stdout"]);
        sender.args(["--do", "'stdin shutdown end'"]);
        let words = [sender.get_program()].into_iter().chain(sender.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        ssh_config(&testbed.sandbox, &testbed.files, "ssh_config", &words.join(" "));
        finish(testbed.openssh("ssh").args([DEVICE, "echo reached"]))
    }

    /// A listener in Python behind which the device's sshd serves as `port_names`.
    fn listener(testbed: &Testbed, port_names: &str) -> Process {
        let mut command = at_namespace(testbed, "relay_listener.py", &format!("{DEVICE}.listen.conn"));
        let sink = format!("tcp:{}", testbed.sshd.port);
        command.args(["--preamble", port_names, "--sink", &sink, "--do", "tcp shutdown end"]);
        let mut listener = Process::start("relay_listener.py", &mut command);
        listener.says("ready", 1, LONG);
        listener
    }

    #[test]
    fn a_python_sender_reaches_the_agent_by_the_name_of_a_port() {
        let testbed = testbed();
        for port_name in ["22", "2222", "named"] {
            assert_eq!(ssh_over_python(&testbed, port_name).succeeded().text(), "reached\n", "{port_name}");
        }
        let refused = ssh_over_python(&testbed, "23");
        assert!(refused.stderr.contains("\"unanswered\""), "{}", refused.stderr);
    }

    #[test]
    fn the_helper_reaches_a_python_listener_by_the_name_of_a_port() {
        let mut testbed = testbed();
        testbed.agent = listener(&testbed, "22,2222,named");
        for options in [&[][..], &["-p", "2222"]] {
            let done =
                finish(testbed.openssh("ssh").args(options).args([DEVICE, "echo reached"])).succeeded();
            assert_eq!(done.text(), "reached\n", "{options:?}");
        }
        testbed.configure("--profile relay --stream named");
        copies_with_scp(&testbed);
    }

    #[test]
    fn the_helper_says_that_a_listener_does_not_know_the_port() {
        let mut testbed = testbed();
        testbed.agent = listener(&testbed, "2222");
        let mut helper = testbed.hub.helper(&testbed.sandbox);
        let done = finish(helper.args(["--profile", "relay", DEVICE]));
        assert_eq!(done.status.code(), Some(UNAVAILABLE), "{}", done.stderr);
        assert!(done.stderr.contains("22"), "{}", done.stderr);
    }

    #[test]
    fn the_helper_reaches_the_agent_many_times_at_once() {
        let testbed = testbed();
        passes_on_the_end_of_stdin(&testbed);
        answers_sessions_at_once(&testbed, 4);
    }
}
