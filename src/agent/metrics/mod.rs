//! Figures of the agent for Prometheus: what is counted, and where it is read.

mod destination;
mod export;
mod figures;

pub(super) use self::destination::Destination;
pub(super) use self::export::Export;
pub(super) use self::figures::{Figures, Outcome, Rejected};
