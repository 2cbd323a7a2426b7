//! How the agent stops.

use rustix::process::Signal;

use super::{ECHO, SOON};
use crate::support::{DEVICE, EchoStream, Hub, Sandbox, agent_with_config};

#[test]
fn sigterm_gives_open_streams_time_to_end() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let start = |timeout: &str| {
        let config = format!("stop-timeout = \"{timeout}\"\naudit-log = \"audit.log\"\n{ECHO}");
        agent_with_config(&sandbox, &hub, DEVICE, &config)
    };
    let ends = |stream: &mut EchoStream| {
        stream.helper.ends(SOON);
        let events = super::events(&sandbox, "audit.log");
        events.last().unwrap()["reason"].as_str().unwrap().to_owned()
    };

    // A stream that ends in time is left alone.
    let mut agent = start("60s");
    let mut live = EchoStream::open(&sandbox, &hub, "echo");
    agent.signal(Signal::TERM);
    agent.says("stopping, with 1 streams open", 1, SOON);
    live.works();
    live.helper.close_stdin();
    assert_eq!(agent.ends(SOON).code(), Some(0));
    assert_eq!(ends(&mut live), "the user ended");

    // One that does not is ended.
    let mut agent = start("1s");
    let mut live = EchoStream::open(&sandbox, &hub, "echo");
    agent.signal(Signal::TERM);
    assert_eq!(agent.ends(SOON).code(), Some(0));
    assert_eq!(ends(&mut live), "the agent was stopped");

    // A second signal ends all streams at once.
    let mut agent = start("60s");
    let mut live = EchoStream::open(&sandbox, &hub, "echo");
    agent.signal(Signal::TERM);
    agent.says("stopping, with 1 streams open", 1, SOON);
    agent.signal(Signal::TERM);
    assert_eq!(agent.ends(SOON).code(), Some(0));
    assert_eq!(ends(&mut live), "the agent was stopped");
}
