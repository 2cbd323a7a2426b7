//! The relay, tested with raw senders and listeners.

mod authorization;
mod command;
mod control_channels;
mod faults;
mod hostile;
mod rendezvous;
mod senders;
mod streams;

use std::ops::Deref;

use crate::support::relay_client::RelayClient;
use crate::support::{Hub, Sandbox};

/// An emulator that runs for one test, with the hybrid connections `hyco`, `a/b` and `open`, of which the last lets
/// senders in without a token.
struct Relay {
    client: RelayClient,
    _hub: Hub,
    _sandbox: Sandbox,
}

impl Relay {
    fn start(faults: &str) -> Self {
        let sandbox = Sandbox::new();
        let mut args = vec!["--relay-entity", "hyco", "a/b", "--relay-anonymous", "open"];
        if !faults.is_empty() {
            args.extend(["--inject", faults]);
        }
        let hub = Hub::start(&sandbox, &args);
        Self { client: RelayClient::new(&hub), _hub: hub, _sandbox: sandbox }
    }
}

impl Deref for Relay {
    type Target = RelayClient;

    fn deref(&self) -> &RelayClient {
        &self.client
    }
}
