//! The caller's side of IoT Hub: requests a stream from the hub, and joins it at the gateway.

mod check;
mod credential;
mod default_module;
mod dialer;
mod explain;
mod logins;
mod lookup;
mod open;
mod pasted;
mod registry;
mod reports;

pub(crate) use dialer::HubDialer;
pub(crate) use pasted::{is_connection_string, recognise};
pub(crate) use registry::HubRegistry;
