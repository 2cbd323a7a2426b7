//! The streaming gateway that a hub named last time, which it nearly always names again.

use super::directory;
use crate::backend::iothub::proto::{HubAddress, encode};
use crate::net::{Endpoint, WssUrl};

fn file(hub: &HubAddress) -> String {
    format!("gateway-{}", encode(&hub.to_string()))
}

/// The gateway that `hub` named last time. It is a guess: the hub's answer decides.
pub fn known(hub: &HubAddress) -> Option<Endpoint> {
    let text = directory::read(&file(hub))?;
    WssUrl::parse(&format!("wss://{}", text.trim())).ok().map(|url| url.endpoint)
}

/// Keeps a gateway for [`known`].
pub fn keep(hub: &HubAddress, gateway: &Endpoint) {
    // Without it the next connection is only slower.
    if let Err(error) = directory::write(&file(hub), &format!("{gateway}\n")) {
        log::debug!("cannot keep the gateway's name: {error}");
    }
}
