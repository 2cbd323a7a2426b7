//! The caller's side of Azure Relay: a sender.

mod check;
mod credential;
mod dialer;
mod open;
mod pasted;
mod registry;
mod request;
mod retries;
mod starts;

pub(crate) use dialer::RelayDialer;
pub(crate) use pasted::{is_connection_string, recognise};
pub(crate) use registry::Namespaces;
