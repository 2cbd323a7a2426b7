//! The Device Provisioning Service of the emulator.

mod certificates;
mod command;
mod faults;
mod https;
mod mqtt;

use std::fs;
use std::ops::Deref;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::mqtt_client::Mqtt;
use crate::support::hub_client::{Answer, HubClient};
use crate::support::sas::{self, in_an_hour};
use crate::support::{Hub, Sandbox};

const SCOPE: &str = "0ne00000001";

/// An emulator with the service, and a client of it.
struct Dps {
    client: HubClient,
    hub: Hub,
    sandbox: Sandbox,
}

impl Deref for Dps {
    type Target = HubClient;

    fn deref(&self) -> &HubClient {
        &self.client
    }
}

impl Dps {
    fn start(args: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let hub = Hub::start(&sandbox, &[&["--dps-scope", SCOPE], args].concat());
        Self { client: HubClient::new(&hub), hub, sandbox }
    }

    fn with_faults(faults: &str) -> Self {
        Self::start(&["--inject", faults])
    }

    fn file(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join("dps").join(file)).unwrap().trim_end().to_owned()
    }

    /// The key of a registration id, derived from the group's.
    fn key(&self, id: &str) -> String {
        let group = BASE64.decode(self.file("group.key").as_bytes()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&group).unwrap();
        mac.update(id.as_bytes());
        BASE64.encode(&mac.finalize().into_bytes())
    }

    fn token(&self, id: &str) -> String {
        token(id, &self.key(id))
    }

    /// Registers with a token, or without one where it is empty.
    async fn register(&self, id: &str, token: &str, body: &str) -> Answer {
        let headers: &[_] = if token.is_empty() { &[] } else { &[("authorization", token)] };
        self.request("PUT", &register_path(id), headers, body).await
    }

    async fn poll(&self, id: &str, operation: &str) -> Answer {
        let path = format!("/{SCOPE}/registrations/{id}/operations/{operation}?api-version=2019-03-31");
        self.request("GET", &path, &[("authorization", &self.token(id))], "").await
    }

    /// Registers with the group's key, and polls once.
    async fn assigned(&self, id: &str) -> Answer {
        let answer = self.register(id, &self.token(id), "").await;
        assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("assigning")));
        self.poll(id, answer.json()["operationId"].as_str().unwrap()).await
    }

    /// Logs in at the hub with the device's connection string; the code of the CONNACK.
    async fn log_in(&self, device: &str) -> u8 {
        let mut mqtt = Mqtt { io: self.tls(self.mqtts).await };
        let username = format!("localhost/{device}/?api-version=2020-09-30");
        mqtt.connect(device, &username, &self.device_token(device, None, in_an_hour())).await
    }

    /// The lines of the log about requests.
    fn log(&self) -> Vec<String> {
        let lines = self.hub.process.stderr();
        lines.lines().filter_map(|line| Some(line.split_once("dps: ")?.1.to_owned())).collect()
    }
}

fn register_path(id: &str) -> String {
    format!("/{SCOPE}/registrations/{id}/register?api-version=2021-06-01")
}

fn token(id: &str, key: &str) -> String {
    sas::token(&format!("{SCOPE}/registrations/{id}"), key, in_an_hour(), Some("registration"))
}
