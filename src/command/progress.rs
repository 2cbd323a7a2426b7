//! A line on the terminal that shows how far a command has come.

use std::io::Write;

/// Replaces the line before with `line`; an empty one clears it.
pub(super) fn draw(line: &str) {
    // Progress that cannot be shown is no reason to stop.
    let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
}
