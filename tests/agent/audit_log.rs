//! The audit log.

use rustix::process::Signal;

use super::{SOON, ask, event, events};
use crate::support::{DEVICE, EchoStream, Hub, Sandbox, agent_with_config, eventually};

const CONFIG: &str = "audit-log = \"audit.log\"\n[[target]]\nstream = \"echo*\"\nbuiltin = \"echo\"\n";

#[test]
fn each_event_is_one_line_and_rotation_loses_none() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut agent = agent_with_config(&sandbox, &hub, DEVICE, CONFIG);
    let live = EchoStream::open(&sandbox, &hub, "echo-1");
    event(&sandbox, "echo-1", "start");
    std::fs::rename(sandbox.path("audit.log"), sandbox.path("audit.log.1")).unwrap();
    agent.signal(Signal::HUP);
    agent.says("the configuration has been read again", 1, SOON);
    drop(live);
    event(&sandbox, "echo-1", "end");
    // This offer may arrive during a reconnect, and is not lost.
    assert_eq!(ask(&sandbox, &hub, "b\u{202e}\"", "").status.code(), Some(69));
    let shown = "b\\u{202e}\"";
    event(&sandbox, shown, "rejected");

    let of = |name: &str, stream: &str| -> Vec<String> {
        let events = events(&sandbox, name);
        let of_stream = events.iter().filter(|line| line["stream"] == stream);
        of_stream.map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("audit.log.1", "echo-1"), ["offer", "accepted", "start"]);
    assert_eq!(of("audit.log", "echo-1"), ["end"]);
    assert_eq!(of("audit.log", shown), ["offer", "rejected"]);
    let (old, new) = (events(&sandbox, "audit.log.1"), events(&sandbox, "audit.log"));
    assert_eq!(old[0]["id"], new[0]["id"], "one stream has one number");
    assert_eq!(old[0]["device"], DEVICE);
    assert_eq!(new[0]["from-user"], "are you there\n".len());
    // Other users cannot read it.
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(sandbox.path("audit.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_audit_log_may_go_to_stdout() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let config = CONFIG.replace("audit.log", "-");
    let agent = agent_with_config(&sandbox, &hub, DEVICE, &config);
    ask(&sandbox, &hub, "echo", "x").succeeded();
    let lines = eventually(SOON, || {
        let said = agent.stdout();
        if said.lines().count() == 4 { Ok(said) } else { Err(said) }
    });
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}
