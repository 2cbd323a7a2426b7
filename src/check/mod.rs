//! The findings of a check, and the check of a stream's target.

mod finding;
mod target;

pub use finding::{Finding, Outcome, STEPS, exit, skip_rest};
pub use target::target;
