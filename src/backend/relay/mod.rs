//! Azure Relay Hybrid Connections.

pub(crate) mod listener;
pub(crate) mod proto;
