//! What a check finds: one step after the other, passed, failed with what to do, or skipped.

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Error, Exit, Result, escape};
use crate::text::duration::show_measured;

/// The steps from the name of a service to a joined stream, in order.
pub const STEPS: [&str; 7] = ["dns", "tcp", "tls", "clock", "credential", "device", "gateway"];

/// What was found at one step.
#[derive(Debug)]
pub struct Finding {
    pub what: String,
    pub outcome: Outcome,
    /// Zero for what was skipped, or came with another finding.
    pub took: Duration,
}

#[derive(Debug)]
pub enum Outcome {
    Pass(String),
    /// What works and may soon fail, and what to do.
    Warn(String, String),
    /// What is wrong, what to do, and what the command's exit status becomes.
    Fail(String, Option<String>, Exit),
    /// Not checked, for a step before it failed.
    Skip,
}

impl Outcome {
    /// How it is called, what there is to say, and what to do.
    pub(crate) fn parts(&self) -> (&'static str, Option<&str>, Option<&str>) {
        match self {
            Outcome::Pass(detail) => ("pass", Some(detail), None),
            Outcome::Warn(detail, hint) => ("warn", Some(detail), Some(hint)),
            Outcome::Fail(problem, hint, _) => ("fail", Some(problem), hint.as_deref()),
            Outcome::Skip => ("skip", None, None),
        }
    }

    /// The terminal's colour: green, yellow, red, or dim.
    fn colour(&self) -> &'static str {
        match self {
            Outcome::Pass(_) => "32",
            Outcome::Warn(..) => "33",
            Outcome::Fail(..) => "31",
            Outcome::Skip => "2",
        }
    }
}

impl<E: Borrow<Error>> From<std::result::Result<String, E>> for Outcome {
    fn from(result: std::result::Result<String, E>) -> Self {
        match result {
            Ok(detail) => Outcome::Pass(detail),
            Err(error) => {
                let error = error.borrow();
                Outcome::Fail(error.to_string(), error.hint(), error.exit())
            }
        }
    }
}

impl Finding {
    /// A line for people, and a second one with the hint; `coloured` for a terminal.
    pub fn line(&self, coloured: bool) -> String {
        let (status, detail, hint) = self.outcome.parts();
        let status =
            if coloured { format!("\x1b[{}m{status}\x1b[0m", self.outcome.colour()) } else { status.into() };
        let took = if self.took.is_zero() { String::new() } else { show_measured(self.took) };
        let mut text =
            format!("{status}  {:<14} {took:>9}  {}", escape(&self.what), escape(detail.unwrap_or_default()));
        text.truncate(text.trim_end().len());
        text.push('\n');
        if let Some(hint) = hint {
            text += &format!("      hint: {}\n", escape(hint));
        }
        text
    }

    /// The JSON object for programs.
    pub fn json(&self) -> Value {
        let (status, detail, hint) = self.outcome.parts();
        let milliseconds = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        json!({ "check": self.what, "status": status, "detail": detail, "hint": hint, "milliseconds": milliseconds })
    }

    /// The result of checking `what`, which began at `since`.
    pub fn new(what: impl Into<String>, since: Instant, result: Result<String>) -> Self {
        Self { what: what.into(), outcome: result.into(), took: since.elapsed() }
    }

    /// A step that is skipped.
    pub fn skipped(what: &str) -> Self {
        Self { what: what.into(), outcome: Outcome::Skip, took: Duration::ZERO }
    }
}

/// Adds those of `steps` that have no finding yet, as skipped.
pub fn skip_rest(findings: &mut Vec<Finding>, steps: &[&str]) {
    for step in steps {
        if !findings.iter().any(|finding| finding.what == *step) {
            findings.push(Finding::skipped(step));
        }
    }
}

/// The exit status of a check: that of the first failure.
pub fn exit(findings: &[Finding]) -> Option<Exit> {
    findings.iter().find_map(|finding| match finding.outcome {
        Outcome::Fail(_, _, exit) => Some(exit),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        let finding = Finding {
            what: "dns".into(),
            outcome: Outcome::Warn("a\u{1b}b".into(), "c".into()),
            took: Duration::from_millis(12),
        };
        assert_eq!(finding.line(false), "warn  dns              12.0 ms  a\\u{1b}b\n      hint: c\n");
        assert!(finding.line(true).starts_with("\u{1b}[33mwarn\u{1b}[0m  dns "));
        assert_eq!(Finding::skipped("dns").line(false), "skip  dns\n");
        assert_eq!(finding.json()["status"], "warn");
    }
}
