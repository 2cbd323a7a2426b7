//! The findings of a check, and the check of a stream's target.

mod finding;
mod target;

pub(crate) use finding::{Finding, Outcome, STEPS, exit, skip_rest};
pub(crate) use target::target;
