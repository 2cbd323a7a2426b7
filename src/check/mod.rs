//! What a check finds, and the target at the end of a stream.

mod finding;
mod target;

pub use finding::{Finding, Outcome, STEPS, exit, skip_rest};
pub use target::target;
