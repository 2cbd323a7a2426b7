//! The device's side of IoT Hub: the hub connection, and the offers that arrive over it.

mod check;
mod clock;
mod credential;
mod dial;
mod hub_connection;
mod hub_listener;
mod in_service;
mod login;
mod over_websocket;
mod renewal;
mod reply;
mod retry;
mod task;

use std::sync::Arc;
use std::time::SystemTime;

use crate::backend::Pending;
use crate::backend::{Listener, Offers, Reread};
use crate::check::Finding;
use crate::error::Result;
use crate::net::Network;

pub(crate) use hub_listener::HubListener;

impl Listener for HubListener {
    fn device(&self) -> String {
        self.credential.identity.client_id()
    }

    fn service(&self) -> String {
        self.credential.hub.to_string()
    }

    fn listen(self: Arc<Self>, network: Network, reread: Option<Reread>) -> Result<Offers> {
        self.credential.login_token(SystemTime::now(), self.token_life)?;
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
