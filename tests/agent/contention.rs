//! Another client logs in with the agent's identity.

use std::time::{Duration, Instant};

use super::{ECHO, SOON, ask};
use crate::support::{DEVICE, Hub, Sandbox, agent_with_config};

/// Within which a fight is noticed.
const MINUTE: Duration = Duration::from_secs(60);

const THROWN_OUT: &str = "another client logs in as dev-1, most likely";

#[test]
fn two_agents_with_one_identity_say_so_and_slow_down() {
    let sandbox = Sandbox::new();
    let hub = Hub::start(&sandbox, &["--device", DEVICE]);
    let mut first = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    let begin = Instant::now();
    let mut second = agent_with_config(&sandbox, &hub, DEVICE, ECHO);
    first.says(THROWN_OUT, 1, MINUTE);
    second.says(THROWN_OUT, 1, MINUTE.saturating_sub(begin.elapsed()));
    first.says("give the agent a module of its own", 1, SOON);
    // The state that systemd shows keeps the remark.
    first.says("; another client logs in as dev-1", 1, MINUTE);
    // Whoever waits lets the other one work.
    ask(&sandbox, &hub, "echo", "in between").succeeded();
}
