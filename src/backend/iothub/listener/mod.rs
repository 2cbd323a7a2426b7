//! The device's side of IoT Hub: the hub connection, and the offers that arrive over it.

mod check;
mod clock;
mod contention;
mod credential;
mod credential_source;
mod dial;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hub_connection;
mod hub_listener;
mod in_service;
mod login;
mod over_websocket;
mod renewal;
mod reply;
mod retry;
mod task;
mod twin;

use std::sync::Arc;

use crate::backend::Pending;
use crate::backend::{Listener, Offers, Reread};
use crate::check::Finding;
use crate::error::Result;
use crate::net::Network;

pub(crate) use credential::{Authentication, DeviceCredential, Signer, read_client_certificate};
pub(crate) use credential_source::{Configured, CredentialSource, Doubt};
pub(crate) use hub_listener::HubListener;

impl Listener for HubListener {
    fn device(&self) -> String {
        self.source.known().map_or_else(|| self.source.describe(), |known| known.identity.client_id())
    }

    fn service(&self) -> String {
        self.source.known().map_or_else(|| self.source.describe(), |known| known.hub.to_string())
    }

    fn keeps_reports(&self) -> bool {
        true
    }

    fn listen(self: Arc<Self>, network: Network, reread: Option<Reread>) -> Result<Offers> {
        if let Some(credential) = self.source.known() {
            credential.check_given()?;
        }
        let (offers, source) = Offers::channel();
        tokio::spawn(task::Task::new(self, network, reread, source).run());
        Ok(offers)
    }

    fn check<'a>(&'a self, network: &'a Network) -> Pending<'a, Vec<Finding>> {
        Box::pin(check::check(self, network))
    }
}

#[cfg(test)]
mod tests;
