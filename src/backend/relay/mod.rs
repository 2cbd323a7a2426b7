//! Azure Relay Hybrid Connections.

pub(crate) mod arc;
pub(crate) mod proto;
