//! Which streams the agent accepts: patterns, programs that decide, and a person at a terminal.

use std::fs;
use std::time::Duration;

use super::{SOON, ask, event};
use crate::support::{DEVICE, Hub, MARKER, Process, Sandbox, agent_with_config, eventually, iotstream, need};

/// An approval program.
fn program(sandbox: &Sandbox, name: &str, text: &str) -> String {
    sandbox.write_script(name, text).display().to_string()
}

#[test]
fn pattern_and_approval_decide_which_streams_are_accepted() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let command = |name, text| format!("{{ command = [{:?}, \"--now\"] }}", program(&sandbox, name, text));
    let rows = [
        // A pattern, its approval, the streams that are requested, and the reason when they are rejected.
        ("plain", "\"always\"".into(), vec!["plain"], None),
        ("tcp-80??", "\"always\"".into(), vec!["tcp-8080", "tcp-8099"], None),
        ("log-*", "\"always\"".into(), vec!["log-", "log-a b\u{e4}"], None),
        ("shut", "\"never\"".into(), vec!["shut"], Some("approve = \"never\"")),
        ("yes", command("yes", "exit 0"), vec!["yes"], None),
        ("no", command("no", "exit 1"), vec!["no"], Some("exit status: 1")),
        ("crash", command("crash", "kill -SEGV $$"), vec!["crash"], Some("signal: 11")),
        (
            "hang",
            command("hang", "sleep 600 & wait"),
            vec!["hang"],
            Some("killed after 2s without a decision"),
        ),
        ("gone", "{ command = [\"/no/such/program\"] }".into(), vec!["gone"], Some("No such file")),
        ("nobody", "\"ask\"".into(), vec!["nobody"], Some("nobody answered within 2s")),
        // The first target that matches decides.
        ("plain*", "\"never\"".into(), vec!["plainer"], Some("approve = \"never\"")),
    ];
    let mut config = "approve-timeout = 2\naudit-log = \"audit.log\"\n".to_owned();
    for (pattern, approve, ..) in &rows {
        config += &format!("[[target]]\nstream = {pattern:?}\nbuiltin = \"echo\"\napprove = {approve}\n");
        // The sandbox finds what is left of the programs by it.
        config += &format!("pass-environment = [{MARKER:?}]\n");
    }
    let agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let others = [("tcp-808", "no target named tcp-808"), ("PLAIN", "no target named PLAIN")];
    let others = others.map(|(stream, why)| (stream, Some(why)));
    let table = rows.iter().flat_map(|(.., streams, why)| streams.iter().map(|stream| (*stream, *why)));
    for (stream, rejected) in table.chain(others) {
        let done = ask(&sandbox, &hub, stream, "let me in");
        match rejected {
            None => {
                assert_eq!(
                    (done.status.code(), done.text()),
                    (Some(0), "let me in"),
                    "{stream}: {}",
                    done.stderr
                );
                let end = event(&sandbox, stream, "end");
                assert_eq!((end["to-user"].as_u64(), end["from-user"].as_u64()), (Some(9), Some(9)), "{end}");
            }
            Some(why) => {
                assert_eq!(done.status.code(), Some(69), "{stream}: {}", done.stderr);
                let reason = event(&sandbox, stream, "rejected")["reason"].as_str().unwrap().to_owned();
                assert!(reason.contains(why), "{stream}: {reason}");
            }
        }
    }
    sandbox.leaves_only(SOON, &[&hub.process, &agent]);
}

#[test]
fn an_approval_program_gets_the_facts_in_its_environment_and_on_stdin() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let decide = "cat > facts.json; env | grep ^IOTSTREAM_ | grep -v TEST | sort > facts.env";
    let config = format!(
        "[[target]]\nstream = \"*\"\nbuiltin = \"echo\"\napprove = {{ command = [{:?}] }}\n",
        program(&sandbox, "decide", decide)
    );
    let _agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    ask(&sandbox, &hub, "a;b $(c)", "x").succeeded();
    let place = format!("localhost:{}", hub.port());
    let expected = format!(
        "IOTSTREAM_DEVICE={DEVICE}\nIOTSTREAM_HUB={place}\nIOTSTREAM_STREAM=a;b $(c)\nIOTSTREAM_STREAM_ID=1\nIOTSTREAM_TARGET=builtin echo\n"
    );
    assert_eq!(fs::read_to_string(sandbox.path("facts.env")).unwrap(), expected);
    let facts: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path("facts.json")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": 1, "stream": "a;b $(c)", "target": "builtin echo", "device": DEVICE, "hub": place,
    });
    assert_eq!(facts, expected);
}

/// An agent on a pty that `script` makes: the test types by writing to its stdin.
fn agent_at_a_terminal(sandbox: &Sandbox, hub: &Hub) -> Process {
    let (file, ca_file) = (hub.device_file(DEVICE), hub.dir.join("ca.pem"));
    let config = format!(
        "connection-string-file = {file:?}\nca-file = {ca_file:?}\napprove-timeout = 3\naudit-log = \"audit.log\"\n\
         [[target]]\nstream = \"*\"\nbuiltin = \"echo\"\napprove = \"ask\"\n"
    );
    let config = sandbox.write("agent.toml", config);
    let agent = format!("exec {} agent -vv --config {}", iotstream(), config.display());
    let mut script = sandbox.command(need("script"));
    script.args(["--quiet", "--return", "--command", &agent, "/dev/null"]);
    let mut agent = Process::start("agent", &mut script);
    agent.says("in service", 1, SOON);
    agent
}

#[test]
fn a_person_at_the_terminal_is_asked_and_only_yes_accepts() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_at_a_terminal(&sandbox, &hub);
    let answers = [
        ("first", Some("y\n"), None),
        ("second", Some("n\n"), Some("declined at the terminal")),
        ("third", Some("\n"), Some("declined at the terminal")),
        ("fourth", Some("YES\n"), None),
        ("fifth", None, Some("nobody answered within 3s")),
        ("sixth\u{202e}", Some("yesterday\n"), Some("declined at the terminal")),
    ];
    for (stream, answer, rejected) in answers {
        let shown = stream.replace('\u{202e}', "\\u{202e}");
        let done = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&sandbox, &hub, stream, "let me in"));
            eventually(SOON, || {
                let question = format!("accept the stream '{shown}' to builtin echo? [y/N]");
                if agent.stdout().contains(&question) { Ok(()) } else { Err(question) }
            });
            if let Some(answer) = answer {
                agent.say(answer);
            }
            asking.join().unwrap()
        });
        assert_eq!(
            done.status.code(),
            Some(if rejected.is_some() { 69 } else { 0 }),
            "{stream}: {}",
            done.stderr
        );
        if let Some(why) = rejected {
            assert_eq!(event(&sandbox, &shown, "rejected")["reason"], why);
        }
    }
}

#[test]
fn input_typed_before_the_question_is_not_an_answer() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_at_a_terminal(&sandbox, &hub);
    agent.say("y\ny\ny\n");
    // The terminal has received it once it echoes it.
    eventually(Duration::from_secs(5), || {
        if agent.stdout().matches("y\r\n").count() >= 3 { Ok(()) } else { Err(agent.stdout()) }
    });
    assert_eq!(ask(&sandbox, &hub, "early", "let me in").status.code(), Some(69));
    assert_eq!(event(&sandbox, "early", "rejected")["reason"], "nobody answered within 3s");
}
