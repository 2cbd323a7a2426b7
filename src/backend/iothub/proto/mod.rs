//! What both sides know of Azure IoT Hub's device streams, as pure functions: no sockets, no clock, no
//! environment. The marks in comments say how sure a fact is: [S] read in SDK source, [D] official
//! documentation, [I] an issue or trace by a user or by staff, [M] captured from Microsoft's client code,
//! [~] inferred.

mod connection_string;
mod failure;
mod initiate;
mod names;
mod offer;
mod pasted;
mod registry;
mod sas;
mod session;

pub use crate::text::percent::encode;
pub use crate::time::clock::UnixSeconds;
pub use connection_string::{ConnectionString, Key};
pub use failure::{Code, ERROR_CODE, HubFailure};
pub use initiate::{Answer, DEFAULT_API_VERSION, Initiate, headers};
pub use names::{HubAddress, Identity};
pub use offer::{BadOffer, Decision, Offer, SUBSCRIPTIONS, parse_decision};
pub use registry::{ALL_DEVICES, CONTINUATION, MAX_ITEM_COUNT, device_path, devices_page, twin, twin_path};
pub use sas::{Resource, SasToken};
pub use session::{Login, Refusal, WEBSOCKET_PATH, WEBSOCKET_SUBPROTOCOL};

/// Foreign or hand-written text that is not of the form it should have: what is wrong, never the text of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Malformed {
    fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}
