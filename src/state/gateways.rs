//! The last gateway of each service. A service nearly always names the same one again.

use super::directory;
use crate::net::{Endpoint, WssUrl};
use crate::text::percent::encode;

fn file(service: &str) -> String {
    format!("gateway-{}", encode(service))
}

/// The last gateway of `service`, as a guess at the next one.
pub(crate) fn known(service: &str) -> Option<Endpoint> {
    let text = directory::read(&file(service))?;
    WssUrl::parse(&format!("wss://{}", text.trim())).ok().map(|url| url.endpoint)
}

/// Stores a gateway for [`known`].
pub(crate) fn keep(service: &str, gateway: &Endpoint) {
    // A failure only slows the next connection down.
    if let Err(error) = directory::write(&file(service), &format!("{gateway}\n")) {
        log::debug!("cannot store the gateway: {error}");
    }
}
