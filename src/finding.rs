//! What a check finds: one thing after the other, passed, failed with what to do, or not looked at.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Exit, Result, escape};

/// How one thing was found.
#[derive(Debug)]
pub struct Finding {
    pub what: String,
    pub outcome: Outcome,
    pub took: Duration,
}

#[derive(Debug)]
pub enum Outcome {
    Pass(String),
    /// What is wrong, what to do, and what the command's exit status becomes.
    Fail(String, Option<String>, Exit),
    /// Not looked at, for something before it failed.
    Skip,
}

impl Finding {
    /// The finding as a line for people, with another one for what to do.
    pub fn line(&self) -> String {
        let line =
            |status: &str, detail: &str| format!("{status}  {:<14} {}\n", escape(&self.what), escape(detail));
        match &self.outcome {
            Outcome::Pass(detail) => line("pass", detail),
            Outcome::Fail(problem, None, _) => line("fail", problem),
            Outcome::Fail(problem, Some(hint), _) => {
                line("fail", problem) + &format!("      hint: {}\n", escape(hint))
            }
            Outcome::Skip => line("skip", ""),
        }
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let (status, detail, hint) = match &self.outcome {
            Outcome::Pass(detail) => ("pass", Some(detail), None),
            Outcome::Fail(problem, hint, _) => ("fail", Some(problem), hint.as_ref()),
            Outcome::Skip => ("skip", None, None),
        };
        let milliseconds = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        json!({ "check": self.what, "status": status, "detail": detail, "hint": hint, "milliseconds": milliseconds })
    }

    /// What came of looking at `what` since `since`.
    pub fn new(what: impl Into<String>, since: Instant, result: Result<String>) -> Self {
        let outcome = match result {
            Ok(detail) => Outcome::Pass(detail),
            Err(error) => Outcome::Fail(error.to_string(), error.hint(), error.exit()),
        };
        Self { what: what.into(), outcome, took: since.elapsed() }
    }

    /// Not looked at.
    pub fn skipped(what: &str) -> Self {
        Self { what: what.into(), outcome: Outcome::Skip, took: Duration::ZERO }
    }
}

/// The exit status of a check: that of the first failure.
pub fn exit(findings: &[Finding]) -> Option<Exit> {
    findings.iter().find_map(|finding| match finding.outcome {
        Outcome::Fail(_, _, exit) => Some(exit),
        _ => None,
    })
}
