//! Clocks, the time that a set-up takes, and how long to wait before the next try.

pub mod backoff;
pub mod clock;
pub mod phase;
