//! The device's side of Azure Relay: the control channel, and the offers that arrive over it.

mod azbridge;
mod channel;
mod check;
mod credential;
mod dial;
mod dials;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod offers;
mod relay_listener;
mod rendezvous;
mod reply;
mod retry;
mod starts;
mod task;

use std::sync::Arc;

use crate::backend::Pending;
use crate::backend::{Listener, Offers, Reread};
use crate::check::Finding;
use crate::error::Result;
use crate::net::Network;

pub(crate) use relay_listener::RelayListener;

impl Listener for RelayListener {
    fn device(&self) -> String {
        self.device.clone()
    }

    fn service(&self) -> String {
        self.credential.namespace.to_string()
    }

    fn listen(self: Arc<Self>, network: Network, reread: Option<Reread>) -> Result<Offers> {
        self.credential.check()?;
        let network = network.preferring_p384()?;
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
