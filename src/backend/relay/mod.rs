//! Azure Relay Hybrid Connections.

pub(crate) mod proto;
