//! The record of the last failed connection, for a user who has seen only ssh's message.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::directory;
use crate::error::{Error, escape};
use crate::time::clock::iso8601;
use crate::time::phase::Phases;

const FILE: &str = "last-failure";

/// The longest record, in bytes.
const LONGEST: usize = 8 * 1024;

/// Records a failed connection to `host`, with the device or module that was asked, if it is known. The record contains no secret, because no error does.
pub(crate) fn keep(host: Option<&str>, device: Option<&str>, error: &Error, phases: &Phases) {
    let mut text = format!("time: {}\n", iso8601(SystemTime::now()));
    for (key, value) in [("host", host), ("device", device)] {
        if let Some(value) = value {
            let _ = writeln!(text, "{key}: {}", escape(value));
        }
    }
    let _ = writeln!(text, "error: {}", escape(&error.to_string()));
    if let Some(hint) = error.hint() {
        let _ = writeln!(text, "hint: {}", escape(&hint));
    }
    let _ = writeln!(text, "exit status: {}", error.exit().code());
    for timing in phases.iter() {
        let _ = writeln!(
            text,
            "{}: {} in {:.1} ms",
            timing.phase,
            timing.target,
            timing.took.as_secs_f64() * 1e3
        );
    }
    text = text.chars().filter(|&c| c == '\n' || !c.is_control()).collect();
    let end = (0..=LONGEST.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    // The user has already seen the error.
    if let Err(problem) = directory::write(FILE, &text[..end]) {
        log::debug!("cannot record the failure: {problem}");
    }
}

/// The record of the last failure, if there is one.
pub(crate) fn last() -> Option<String> {
    directory::read(FILE)
}
