//! stdout, for the commands that print there.

use std::ffi::OsStr;
use std::io::{ErrorKind, IsTerminal, Write};

use crate::check::Finding;
use crate::error::{Error, Result};

/// Writes to stdout. A reader that has gone is not an error.
pub(super) fn print(text: &str) -> Result<()> {
    print_to_reader(text).or_else(|error| if reader_has_gone(&error) { Ok(()) } else { Err(error) })
}

/// Writes to stdout. A reader that has gone is an error, for callers that go on printing.
pub(super) fn print_to_reader(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::local_io("stdout"))
}

/// Whether nobody reads stdout any more.
pub(super) fn reader_has_gone(error: &Error) -> bool {
    matches!(error, Error::LocalIo { source, .. } if source.kind() == ErrorKind::BrokenPipe)
}

/// Whether to print colours: stdout is a terminal that has them, and the user has not disabled them (no-color.org).
fn is_colourful() -> bool {
    let is =
        |name: &str, wanted: fn(&OsStr) -> bool| std::env::var_os(name).is_some_and(|value| wanted(&value));
    std::io::stdout().is_terminal()
        && !is("NO_COLOR", |value| !value.is_empty())
        && !is("TERM", |value| value == "dumb")
}

/// Prints what a check found, for people or as a JSON array.
pub(super) fn print_findings(findings: &[Finding], json: bool) -> Result<()> {
    if json {
        let findings: Vec<_> = findings.iter().map(Finding::json).collect();
        return print(&format!("{}\n", serde_json::Value::Array(findings)));
    }
    let colour = is_colourful();
    print(&findings.iter().map(|finding| finding.line(colour)).collect::<String>())
}
