//! The programs that the agent starts: their environment holds no secret of the agent's, and what they say is logged.

use std::fs;
use std::process::Command;

use super::{SOON, ask, event};
use crate::support::{DEVICE, Hub, MARKER, Sandbox, in_service};

/// An agent with its key and other secrets in its environment.
fn agent_with_secrets(sandbox: &Sandbox, hub: &Hub, targets: &str) -> Command {
    let config = format!(
        "connection-string-env = \"DEVICE_KEY\"\nca-file = {:?}\naudit-log = \"audit.log\"\n{targets}",
        hub.dir.join("ca.pem"),
    );
    let mut command = sandbox.iotstream();
    command.args(["agent", "-vv", "--config"]).arg(sandbox.write("agent.toml", config));
    command
        .env("DEVICE_KEY", fs::read_to_string(hub.device_file(DEVICE)).unwrap().trim())
        .env("CREDENTIALS_DIRECTORY", sandbox.path("credentials"))
        .env("NOTIFY_SOCKET", sandbox.path("nobody"))
        .env("SSH_AUTH_SOCK", sandbox.path("agent"))
        .env("HTTPS_PROXY", "http://user:hunter2@192.0.2.1:3128")
        .env("NO_PROXY", "localhost")
        .env("LANG", "C.UTF-8")
        .env("LC_TIME", "C")
        .env("TZ", "Asia/Tokyo");
    command
}

#[test]
fn targets_and_approval_programs_start_with_a_clean_environment() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let approve = sandbox.path("approve.env").display().to_string();
    let targets = format!(
        "[[target]]\nstream = \"clean\"\ncommand = [\"env\"]\n\
         approve = {{ command = [\"sh\", \"-c\", \"env > {approve}\"] }}\n\
         [[target]]\nstream = \"passed\"\ncommand = [\"env\"]\n\
         pass-environment = [\"HTTPS_PROXY\", \"{MARKER}\", \"NOT_SET\", \"IOTSTREAM_STREAM\"]\n"
    );
    let _agent = in_service(&mut agent_with_secrets(&sandbox, &hub, &targets));
    let names = |text: &str| -> Vec<String> {
        let mut names: Vec<String> =
            text.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
        // A shell sets some of these itself, and others depend on the machine that runs the test.
        names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD", "USER", "LOGNAME"].contains(&name.as_str()));
        names.retain(|name| !name.starts_with("LC_") || name == "LC_ALL" || name == "LC_TIME");
        names.sort();
        names
    };
    let facts = ["DEVICE", "HUB", "STREAM", "STREAM_ID", "TARGET"].map(|fact| format!("IOTSTREAM_{fact}"));
    let kept = ["HOME", "LANG", "LC_ALL", "LC_TIME", "PATH", "SHELL", "TZ"].map(str::to_owned);
    let mut expected = [&facts[..], &kept[..]].concat();
    expected.sort();

    let clean = ask(&sandbox, &hub, "clean", "").succeeded();
    assert_eq!(names(clean.text()), expected);
    assert_eq!(names(&fs::read_to_string(approve).unwrap()), expected);
    let id = event(&sandbox, "clean", "offer")["id"].as_u64().unwrap();
    for line in [
        "IOTSTREAM_STREAM=clean".into(),
        "IOTSTREAM_TARGET=command env".into(),
        format!("IOTSTREAM_DEVICE={DEVICE}"),
        format!("IOTSTREAM_HUB=localhost:{}", hub.port()),
        format!("IOTSTREAM_STREAM_ID={id}"),
    ] {
        assert!(clean.text().lines().any(|is| is == line), "{line}: {}", clean.text());
    }

    let passed = ask(&sandbox, &hub, "passed", "").succeeded();
    expected.extend(["HTTPS_PROXY".to_owned(), MARKER.to_owned()]);
    expected.sort();
    assert_eq!(names(passed.text()), expected);
    assert!(passed.text().contains("hunter2") && passed.text().contains("IOTSTREAM_STREAM=passed\n"));
}

#[test]
fn a_missing_path_and_home_get_defaults() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let targets = "[[target]]\nstream = \"env\"\ncommand = [\"env\"]\n";
    let mut agent = agent_with_secrets(&sandbox, &hub, targets);
    let _agent = in_service(agent.env_remove("PATH").env_remove("HOME"));
    let done = ask(&sandbox, &hub, "env", "").succeeded();
    for variable in ["PATH=/usr/local/sbin:", "HOME=/"] {
        assert!(done.text().lines().any(|line| line.starts_with(variable)), "{}", done.text());
    }
}

#[test]
fn a_failed_approval_program_is_logged_with_a_hint_at_pass_environment() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let targets = "[[target]]\nstream = \"*\"\nbuiltin = \"echo\"\n\
         approve = { command = [\"sh\", \"-c\", \"echo no $HTTPS_PROXY here >&2; exit 7\"] }\n";
    let mut agent = in_service(&mut agent_with_secrets(&sandbox, &hub, targets));
    assert_eq!(ask(&sandbox, &hub, "any", "").status.code(), Some(69));
    agent.says("the target's pass-environment names", 1, SOON);
    agent.says("stream 'any': sh: no here", 1, SOON);
    assert!(event(&sandbox, "any", "rejected")["reason"].as_str().unwrap().contains("exit status: 7"));
}

#[test]
fn the_stderr_of_a_target_is_logged_with_control_characters_escaped() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    // More than a pipe holds, and a process that outlives the program.
    let command = "printf 'red \\\\033[31m\\\\342\\\\200\\\\256\\\\n' >&2; sleep 600 & yes noise | head -n 50000 >&2; cat";
    let targets = format!(
        "[[target]]\nstream = \"*\"\ncommand = [\"sh\", \"-c\", \"{command}\"]\npass-environment = [\"{MARKER}\"]\n"
    );
    let mut agent = in_service(&mut agent_with_secrets(&sandbox, &hub, &targets));
    assert_eq!(ask(&sandbox, &hub, "a b", "echo").succeeded().text(), "echo");
    agent.says("stream 'a b': sh: red \\u{1b}[31m\\u{202e}", 1, SOON);
    agent.says("sh: noise", 50, SOON);
    let said = agent.stderr();
    assert!(!said.contains('\u{1b}'), "{said}");
    assert!(said.matches("sh: noise").count() < 2000, "{} lines", said.matches("sh: noise").count());
}
