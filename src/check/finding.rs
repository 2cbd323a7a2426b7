//! What a check finds: one step after the other, passed, failed with what to do, or skipped.

use std::borrow::Borrow;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::error::{Error, Exit, Result, Skew, escape};
use crate::text::duration::show_measured;

/// A clock that is off by this much soon exceeds what a hub allows.
const WORTH_A_WARNING: Duration = Duration::from_secs(60);

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
    /// The name, the detail and the hint.
    fn parts(&self) -> (&'static str, Option<&str>, Option<&str>) {
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

/// Compares the clock `here` with the hub's, whose answers tell the time in whole seconds.
pub fn clock(here: SystemTime, hub: SystemTime) -> Outcome {
    let skew = Skew::measured(here, hub);
    match skew.by() {
        _ if skew.is_too_far() => Err(Error::Skewed { skew }).into(),
        by if by >= WORTH_A_WARNING => Outcome::Warn(
            format!("{skew} the hub's"),
            "at five minutes the hub refuses what is signed here: set it right".into(),
        ),
        by if by.as_secs() > 1 => Outcome::Pass(format!("{skew} the hub's")),
        _ => Outcome::Pass("as the hub's, to the second".into()),
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
    fn a_clock_is_warned_of_before_the_hub_minds() {
        let hub = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds: i64| {
            let by = Duration::from_secs(seconds.unsigned_abs());
            clock(if seconds < 0 { hub - by } else { hub + by }, hub)
        };
        for (seconds, status, detail) in [
            (0, "pass", "as the hub's, to the second"),
            (-1, "pass", "as the hub's, to the second"),
            (30, "pass", "30s ahead of the hub's"),
            (-90, "warn", "1m30s behind the hub's"),
            (300, "warn", "5m ahead of the hub's"),
            (-301, "fail", "the clock here is 5m1s behind the hub's"),
        ] {
            let outcome = at(seconds);
            assert_eq!((outcome.parts().0, outcome.parts().1), (status, Some(detail)), "{seconds}");
            assert_eq!(outcome.parts().2.is_some(), status != "pass");
        }
    }

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
