//! The caller's side of Azure Relay: a sender.

pub(super) mod check;
mod credential;
mod dialer;
mod open;
mod pasted;
mod registry;
mod request;
mod retries;
mod starts;

pub(super) use credential::Credential;
pub(super) use dialer::DEFAULT as DEFAULT_LIMIT;
pub(crate) use dialer::RelayDialer;
pub(super) use open::open;
pub(crate) use pasted::{is_connection_string, recognise};
pub(crate) use registry::Namespaces;
pub(super) use request::Request;
pub(super) use starts::Starts;
