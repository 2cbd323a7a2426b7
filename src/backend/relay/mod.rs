//! Azure Relay Hybrid Connections.

pub(crate) mod arc;
pub(crate) mod caller;
pub(crate) mod error;
pub(crate) mod listener;
mod phase;
pub(crate) mod proto;
