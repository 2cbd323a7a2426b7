//! stdout, for the commands that talk there.

use std::io::{ErrorKind, Write};

use crate::error::{Error, Result};
use crate::finding::Finding;

/// Writes to stdout; a reader that has seen enough is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::local_io("stdout")(error)),
        _ => Ok(()),
    }
}

/// Prints what a check found, for people or as a JSON array.
pub(super) fn print_findings(findings: &[Finding], json: bool) -> Result<()> {
    if json {
        let findings: Vec<_> = findings.iter().map(Finding::json).collect();
        return print(&format!("{}\n", serde_json::Value::Array(findings)));
    }
    print(&findings.iter().map(Finding::line).collect::<String>())
}
