//! The control channel ends and is opened again.

use std::time::Duration;

use super::relay::{helper, relay, relay_agent};
use super::{ECHO, SOON};
use crate::support::{DEVICE, EchoStream, LIMIT, Sandbox, Stdin, run};

#[test]
fn each_kind_of_end_is_survived_with_tokens_renewed_every_second() {
    let sandbox = Sandbox::new();
    // Silence ends by the agent's own limit.
    let hub = relay(&sandbox, "relay-skew=0s,relay-control=1011:3s/1008:3s/reset:3s/1001:3s/silent:1s");
    let config = format!("token-life = 2\nkeepalive = 1\n{ECHO}");
    let mut agent = relay_agent(&sandbox, &hub, &config);
    let mut live = EchoStream::with(helper(&sandbox, &hub).args(["--stream", "echo", DEVICE]));
    for round in 2..=6 {
        let mut sender = helper(&sandbox, &hub);
        sender.args(["--wait", "60s", "--stream", "echo", DEVICE]);
        assert_eq!(run(&mut sender, Stdin::Ends(b"meanwhile"), LIMIT).succeeded().text(), "meanwhile");
        agent.says("in service", round, Duration::from_secs(30));
        live.works();
    }
    let said = agent.stderr();
    for part in ["the service does so once a day", "with 1008", "with 1001", "no answer to a ping", "was cut"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.matches("the token is renewed").count() > 3, "{said}");
    live.works();
}

#[test]
fn the_agent_is_back_soon_after_the_relay_is() {
    let sandbox = Sandbox::new();
    let mut hub = relay(&sandbox, "");
    let mut agent = relay_agent(&sandbox, &hub, ECHO);
    for round in 2..=4 {
        hub.restart(&sandbox);
        agent.says("in service", round, SOON);
        let done = run(
            helper(&sandbox, &hub).args(["--wait", "10s", "--stream", "echo", DEVICE]),
            Stdin::Ends(b"x"),
            LIMIT,
        );
        done.succeeded();
    }
}
