//! SIGHUP reloads the configuration.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::{Echo, SOON, ask, event};
use crate::support::{Bench, DEVICE, Hub, agent_with_config, eventually};

#[test]
fn an_offer_that_awaits_approval_outlives_a_reload() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let decide = bench.write("decide", "#!/bin/sh\ntouch asked\nuntil [ -e decided ]; do sleep 0.05; done\n");
    std::fs::set_permissions(&decide, std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = format!(
        "[[target]]\nstream = \"echo\"\nbuiltin = \"echo\"\napprove = {{ command = [{decide:?}] }}\n"
    );
    let mut agent = agent_with_config(&bench, &hub, DEVICE, &config);
    let done = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&bench, &hub, "echo", "let me in"));
        let asked = bench.path("asked");
        eventually(SOON, || if asked.exists() { Ok(()) } else { Err("the program is asked".into()) });
        agent.signal(Signal::HUP);
        agent.says("the configuration has been read again", 1, SOON);
        bench.write("decided", "");
        asking.join().unwrap()
    });
    assert_eq!(done.succeeded().text(), "let me in");
    // And only then a new session began.
    agent.says("in service", 2, SOON);
    ask(&bench, &hub, "echo", "again").succeeded();
}

#[test]
fn a_reload_changes_what_is_let_in_and_not_what_is_there() {
    let bench = Bench::new();
    let hub = Hub::start(&bench, &["--device", DEVICE]);
    let echo = |stream: &str| format!("[[target]]\nstream = {stream:?}\nbuiltin = \"echo\"\n");
    let mut agent = agent_with_config(&bench, &hub, DEVICE, &echo("old"));
    let mut live = Echo::open(&bench, &hub, "old");

    let path = bench.path("agent.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    bench.write("agent.toml", format!("audit-log = \"audit.log\"\n{}", before.replace("\"old\"", "\"new\"")));
    agent.signal(Signal::HUP);
    agent.says("in service", 2, SOON);
    live.works();
    assert_eq!(ask(&bench, &hub, "old", "x").status.code(), Some(69));
    event(&bench, "old", "rejected");
    ask(&bench, &hub, "new", "x").succeeded();

    bench.write("agent.toml", "nonsense");
    agent.signal(Signal::HUP);
    agent.says("the configuration stays as it was", 1, SOON);
    ask(&bench, &hub, "new", "x").succeeded();
    live.works();
}
