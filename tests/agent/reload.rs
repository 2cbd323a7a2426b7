//! SIGHUP reloads the configuration.

use rustix::process::Signal;

use super::{SOON, ask, event};
use crate::support::{DEVICE, EchoStream, Hub, Sandbox, agent_with_config, eventually};

#[test]
fn an_offer_that_awaits_approval_survives_a_reload() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let decide = sandbox.write_script("decide", "touch asked\nuntil [ -e decided ]; do sleep 0.05; done");
    let config = format!(
        "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\napprove = {{ command = [{decide:?}] }}\n"
    );
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    let done = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&sandbox, &hub, "echo", "let me in"));
        let asked = sandbox.path("asked");
        eventually(SOON, || if asked.exists() { Ok(()) } else { Err("the program is asked".into()) });
        agent.signal(Signal::HUP);
        agent.says("the configuration has been read again", 1, SOON);
        sandbox.write("decided", "");
        asking.join().unwrap()
    });
    assert_eq!(done.succeeded().text(), "let me in");
    // Only then does the agent connect again.
    agent.says("in service", 2, SOON);
    ask(&sandbox, &hub, "echo", "again").succeeded();
}

#[test]
fn a_reload_applies_to_new_streams_and_keeps_open_ones() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let echo = |stream: &str| format!("[[target]]\nstream = {stream:?}\nbuiltin = \"echo\"\n");
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, &echo("old"));
    let mut live = EchoStream::open(&sandbox, &hub, "old");

    let path = sandbox.path("agent.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    sandbox
        .write("agent.toml", format!("audit-log = \"audit.log\"\n{}", before.replace("\"old\"", "\"new\"")));
    agent.signal(Signal::HUP);
    agent.says("in service", 2, SOON);
    live.works();
    assert_eq!(ask(&sandbox, &hub, "old", "x").status.code(), Some(69));
    event(&sandbox, "old", "rejected");
    ask(&sandbox, &hub, "new", "x").succeeded();

    sandbox.write("agent.toml", "nonsense");
    agent.signal(Signal::HUP);
    agent.says("the configuration stays as it was", 1, SOON);
    ask(&sandbox, &hub, "new", "x").succeeded();
    live.works();
}
