//! The gateway that a service named last time: it nearly always names the same one again.

use super::directory;
use crate::net::{Endpoint, WssUrl};
use crate::text::percent::encode;

fn file(service: &str) -> String {
    format!("gateway-{}", encode(service))
}

/// The gateway that `service` named last time. It is a guess: what the service says decides.
pub fn known(service: &str) -> Option<Endpoint> {
    let text = directory::read(&file(service))?;
    WssUrl::parse(&format!("wss://{}", text.trim())).ok().map(|url| url.endpoint)
}

/// Keeps a gateway for [`known`].
pub fn keep(service: &str, gateway: &Endpoint) {
    // Without a place to write to, the next connection is as slow as this one.
    if let Err(error) = directory::write(&file(service), &format!("{gateway}\n")) {
        log::debug!("the gateway is not remembered: {error}");
    }
}
