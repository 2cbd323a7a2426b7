//! Findings of a check.

mod finding;

pub use finding::{Finding, Outcome, exit};
