//! Azure Relay Hybrid Connections.

pub(crate) mod arc;
pub(crate) mod caller;
pub(crate) mod error;
mod headers;
pub(crate) mod listener;
mod phase;
pub(crate) mod preamble;
pub(crate) mod proto;
