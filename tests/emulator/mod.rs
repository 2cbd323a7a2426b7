//! `iotstream emulator`, tested with raw clients over real TLS that share no code with the project's own clients.

mod authorization;
mod command;
mod gateway;
mod mqtt;
mod mqtt_client;
mod provisioning;
mod query;
mod registry;
mod relay;
mod stream_endings;
mod stream_requests;
mod streams;
mod tls;
mod twins;

use std::ops::Deref;

use crate::support::hub_client::HubClient;
use crate::support::{Hub, Sandbox};

const SSH: &str = "/twins/dev-1/streams/ssh?api-version=2020-09-30";

/// An emulator that runs for one test, and a client of it.
struct Emulator {
    client: HubClient,
    hub: Hub,
    sandbox: Sandbox,
}

impl Emulator {
    /// With the device dev-1, its module mod, and these faults.
    fn start(faults: &str) -> Self {
        Self::with_devices(faults, &["dev-1", "dev-1/mod"])
    }

    fn with_devices(faults: &str, devices: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let hub = start(&sandbox, faults, devices);
        Self { client: HubClient::new(&hub), hub, sandbox }
    }

    /// Stops it and starts it again in the same directory, on other ports.
    fn restart(&mut self, devices: &[&str]) {
        self.hub.stop();
        self.hub = start(&self.sandbox, "", devices);
        self.client = HubClient::new(&self.hub);
    }
}

impl Deref for Emulator {
    type Target = HubClient;

    fn deref(&self) -> &HubClient {
        &self.client
    }
}

fn start(sandbox: &Sandbox, faults: &str, devices: &[&str]) -> Hub {
    let mut args = vec!["--hostname", "hub.example"];
    if !faults.is_empty() {
        args.extend(["--inject", faults]);
    }
    args.extend(devices.iter().flat_map(|device| ["--device", device]));
    Hub::start(sandbox, &args)
}
