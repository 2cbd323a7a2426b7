//! Clocks, the phases of a set-up, and back-off.

pub mod backoff;
pub mod clock;
pub mod phase;

#[cfg(test)]
pub(crate) mod interleavings;
