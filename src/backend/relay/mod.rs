//! Azure Relay Hybrid Connections.

mod preamble;
pub(crate) mod proto;

pub(crate) use preamble::{Proposal, Refused, hear, propose};
