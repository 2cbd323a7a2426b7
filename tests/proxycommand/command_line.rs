//! The command line and the environment of the helper, under ssh and by hand.

use crate::support::{
    DEVICE, Finished, Hub, LIMIT, Sandbox, SshFiles, Stdin, Testbed, echo_device, iotstream, need, run,
    ssh_config,
};

const CLIENT: Stdin<'_> = Stdin::Stays(b"SSH-2.0-OpenSSH_9.2\r\n");

/// What ssh prints before a server's disconnect message.
const SSH_SAYS: &str = "Received disconnect from UNKNOWN port 65535:";

fn last(sandbox: &Sandbox) -> Finished {
    run(sandbox.iotstream().arg("last"), Stdin::Ends(b""), LIMIT)
}

/// Runs ssh with a helper that has `arguments` and an environment variable.
fn ssh(sandbox: &Sandbox, arguments: &str, (variable, value): (&str, &str)) -> Finished {
    let helper = format!("{} {arguments}", iotstream());
    let config = ssh_config(sandbox, &SshFiles::make(sandbox), "ssh_config", &helper);
    let mut ssh = sandbox.command(need("ssh"));
    ssh.arg("-F").arg(config).args([DEVICE, "true"]).env(variable, value);
    run(&mut ssh, Stdin::Ends(b""), LIMIT)
}

/// Expects each of `says` from ssh, on the helper's stderr, and from `iotstream last`.
#[track_caller]
fn told_everywhere(arguments: &str, variable: (&str, &str), says: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let string = "HostName=h;SharedAccessKeyName=s;SharedAccessKey=MDEyMw==";
    sandbox.write("profiles.toml", format!("default = \"p\"\n[profile.p]\nconnection-string = {string:?}\n"));
    let done = ssh(&sandbox, arguments, variable);
    let in_band: Vec<_> = done.stderr.lines().filter(|line| line.starts_with(SSH_SAYS)).collect();
    let [in_band] = in_band[..] else { panic!("not once in band: {}", done.stderr) };
    let stderr: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("iotstream: ")).collect();
    assert!(
        (1..=2).contains(&stderr.len()) && stderr[0].starts_with("iotstream: error: "),
        "{}",
        done.stderr
    );
    let record = last(&sandbox).succeeded();
    for text in says {
        for told in [in_band, stderr[0], record.text()] {
            assert!(told.contains(text), "'{text}' is not in {told}");
        }
    }
    done.stderr
}

#[test]
fn a_usage_error_is_reported_in_band_on_stderr_and_in_the_record() {
    for (arguments, says) in [
        ("--no-such-option -- %h %p", "'--no-such-option'"),
        ("--keepalive soon -- %h %p", "'soon' for '--keepalive"),
        ("%h not-a-port", "'not-a-port'"),
        ("connect --no-such-option -- %h %p", "'--no-such-option'"),
        ("", "<HOST>"),
    ] {
        told_everywhere(arguments, ("UNUSED", ""), &[says]);
    }
}

#[test]
fn an_error_in_an_environment_variable_names_the_variable() {
    for (variable, value) in [
        ("IOTSTREAM_KEEPALIVE", "soon"),
        ("IOTSTREAM_WAIT", "later"),
        ("IOTSTREAM_VERBOSE", "much"),
        ("IOTSTREAM_PROXY", "nothing://x"),
    ] {
        told_everywhere("--config profiles.toml -- %h %p", (variable, value), &[variable]);
    }
    // The error names the value, and the hint names the variable.
    for (arguments, variable, value) in [
        ("-- %h %p", "IOTSTREAM_CONFIG", "/nowhere/at/all"),
        ("--config profiles.toml -- %h %p", "IOTSTREAM_PROFILE", "nobody-s"),
        ("--config profiles.toml -- %h %p", "IOTSTREAM_CA_FILE", "/nowhere/at/all"),
        ("--config profiles.toml -- %h %p", "IOTSTREAM_MODULE", "a/b"),
    ] {
        let stderr = told_everywhere(arguments, (variable, value), &[value]);
        assert!(stderr.contains(&format!("{variable} names it")), "{stderr}");
    }
    // The error of an option does not name the variable.
    let done = ssh(&Sandbox::new(), "--keepalive soon -- %h %p", ("IOTSTREAM_KEEPALIVE", "3s"));
    assert!(
        !done.stderr.contains("IOTSTREAM_KEEPALIVE") && done.stderr.contains("'soon'"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_log_file_that_cannot_be_opened_is_reported_and_the_connection_goes_on() {
    let testbed = Testbed::start();
    testbed.configure("--log-file /nowhere/at/all/log");
    let done =
        run(testbed.openssh("ssh").args([DEVICE, "echo reached"]), Stdin::Ends(b""), LIMIT).succeeded();
    assert_eq!(done.text(), "reached\n");
    assert!(done.stderr.contains("log file /nowhere/at/all/log: not written"), "{}", done.stderr);

    testbed.configure("");
    let mut ssh = testbed.openssh("ssh");
    ssh.env("IOTSTREAM_LOG_FILE", "/nowhere/at/all/log").args([DEVICE, "echo reached"]);
    let done = run(&mut ssh, Stdin::Ends(b""), LIMIT).succeeded();
    assert!(done.stderr.contains("IOTSTREAM_LOG_FILE names it"), "{}", done.stderr);
}

#[test]
fn an_option_overrides_an_environment_variable() {
    let sandbox = Sandbox::new();
    let mut quiet = sandbox.iotstream();
    let done =
        run(quiet.args(["-q", "profile", "path"]).env("IOTSTREAM_VERBOSE", "2"), Stdin::Ends(b""), LIMIT);
    assert_eq!(done.succeeded().stderr, "");
}

#[test]
fn usage_errors_outside_an_ssh_connection_are_not_sent_in_band() {
    let sandbox = Sandbox::new();
    for (args, stdin) in [
        (&["check", "--no-such-option"][..], CLIENT),
        (&["--config", "F", "check", "--no-such-option"], CLIENT),
        (&["--config", "F", "profile", "add", "--no-such-option"], CLIENT),
        (&["--no-such-option", DEVICE], Stdin::Stays(b"")),
        (&["--no-such-option", DEVICE], Stdin::Stays(b"GET / HTTP/1.1\r\n")),
        (&["--no-such-option", DEVICE], Stdin::Ends(b"")),
    ] {
        let done = run(sandbox.iotstream().args(args), stdin, LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(2), ""), "{args:?}: {}", done.stderr);
        assert!(
            done.stderr.starts_with("iotstream: error: unexpected argument"),
            "{args:?}: {}",
            done.stderr
        );
    }
}

#[test]
fn global_options_may_precede_or_follow_the_subcommand() {
    let (_agent, hub, sandbox) = echo_device("echo");
    let config = hub.dir.join("profiles.toml");
    let config = config.to_str().unwrap();
    for args in [
        &["--config", config, "devices"][..],
        &["devices", "--config", config],
        &["-v", "--config", config, "--proxy", "none", "ping", "-c", "1", DEVICE],
        &["ping", "-c", "1", DEVICE, "-v", "--config", config, "--proxy", "none"],
        &["--config", config, "-q", "profile", "list"],
        &["--log-file", "log", "profile", "path"],
    ] {
        run(sandbox.iotstream().args(args), Stdin::Ends(b""), LIMIT).succeeded();
    }
    let agent = sandbox.write("agent.toml", "no = \"agent's\"\n");
    let done = run(sandbox.iotstream().arg("--config").arg(agent).arg("agent"), Stdin::Ends(b""), LIMIT);
    assert!(done.stderr.contains("agent.toml:1"), "{}", done.stderr);
}

#[test]
fn an_argument_after_two_dashes_is_always_a_host() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    for name in ["last", "agent", "check", "-v"] {
        for options in [&[][..], &["-v"], &[&format!("--name={name}")]] {
            let mut helper = hub.helper(&sandbox);
            let done = run(helper.args(options).args(["--", name, "22"]), Stdin::Ends(b""), LIMIT);
            assert!(done.stderr.contains(&format!("device {name} is not registered")), "{}", done.stderr);
        }
    }
}

/// Containers, systemd units and CI systems set empty variables.
#[test]
fn empty_iotstream_variables_are_ignored() {
    let (_agent, hub, sandbox) = crate::support::echo_device("echo");
    for name in [
        "LOG_FILE",
        "CA_FILE",
        "PROFILE",
        "CONFIG",
        "NAME",
        "MODULE",
        "STREAM",
        "WAIT",
        "KEEPALIVE",
        "VERBOSE",
        "CONNECT_TIMEOUT",
        "RESPONSE_TIMEOUT",
        "PROXY",
    ] {
        let mut helper = hub.helper(&sandbox);
        helper.env(format!("IOTSTREAM_{name}"), "").args(["--stream", "echo", DEVICE]);
        let done = run(&mut helper, Stdin::Ends(b"there and back"), LIMIT);
        assert_eq!((done.status.code(), done.text()), (Some(0), "there and back"), "{name}: {}", done.stderr);
    }
}
