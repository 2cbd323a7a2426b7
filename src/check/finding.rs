//! The findings of a check: each step passes, warns, fails or is skipped.

use std::borrow::Borrow;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Error, Exit, Result, escape};
use crate::text::duration::show_measured;
use crate::time::phase::Timing;

/// The steps from resolving a service's name to a joined stream, in order.
pub(crate) const STEPS: [&str; 7] = ["dns", "tcp", "tls", "clock", "credential", "device", "gateway"];

/// The result of one step.
#[derive(Debug)]
pub struct Finding {
    /// The name of the step.
    pub what: String,
    /// The result.
    pub outcome: Outcome,
    /// Zero for a skipped step, or one checked together with another.
    pub took: Duration,
}

/// The result of a step, with texts for the user.
#[derive(Debug)]
pub enum Outcome {
    /// A detail.
    Pass(String),
    /// A problem that does not prevent a stream, and a hint.
    Warn(String, String),
    /// A problem, a hint, and the command's exit status.
    Fail(String, Option<String>, Exit),
    /// Not checked, because an earlier step failed.
    Skip,
    /// Not checked, because the service has nothing to check: why.
    Absent(&'static str),
}

impl Outcome {
    /// The status, the detail or problem, and the hint.
    pub(crate) fn parts(&self) -> (&'static str, Option<&str>, Option<&str>) {
        match self {
            Outcome::Pass(detail) => ("pass", Some(detail), None),
            Outcome::Warn(detail, hint) => ("warn", Some(detail), Some(hint)),
            Outcome::Fail(problem, hint, _) => ("fail", Some(problem), hint.as_deref()),
            Outcome::Skip => ("skip", None, None),
            Outcome::Absent(why) => ("skip", Some(why), None),
        }
    }

    /// The terminal's code for green, yellow, red or dim.
    fn colour(&self) -> &'static str {
        match self {
            Outcome::Pass(_) => "32",
            Outcome::Warn(..) => "33",
            Outcome::Fail(..) => "31",
            Outcome::Skip | Outcome::Absent(_) => "2",
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

impl From<&Timing> for Finding {
    /// The finding of a phase of the set-up that is done.
    fn from(timing: &Timing) -> Self {
        let outcome = Outcome::Pass(timing.target.clone());
        Self { what: timing.phase.to_string(), outcome, took: timing.took }
    }
}

impl Finding {
    /// A line of text, and a second one with the hint. `coloured` is for a terminal.
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

    /// The JSON object of `--json`.
    pub fn json(&self) -> Value {
        let (status, detail, hint) = self.outcome.parts();
        let milliseconds = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        json!({ "check": self.what, "status": status, "detail": detail, "hint": hint, "milliseconds": milliseconds })
    }

    /// The finding of a step that began at `since`.
    pub fn new(what: impl Into<String>, since: Instant, result: Result<String>) -> Self {
        Self { what: what.into(), outcome: result.into(), took: since.elapsed() }
    }

    /// The finding of a skipped step.
    pub fn skipped(what: &str) -> Self {
        Self { what: what.into(), outcome: Outcome::Skip, took: Duration::ZERO }
    }
}

/// Adds the `steps` without a finding as skipped.
pub(crate) fn skip_rest(findings: &mut Vec<Finding>, steps: &[&str]) {
    for step in steps {
        if !findings.iter().any(|finding| finding.what == *step) {
            findings.push(Finding::skipped(step));
        }
    }
}

/// The exit status of the first failure, if any.
pub(crate) fn exit(findings: &[Finding]) -> Option<Exit> {
    findings.iter().find_map(|finding| match finding.outcome {
        Outcome::Fail(_, _, exit) => Some(exit),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_get_colours() {
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
