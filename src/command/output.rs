//! stdout, for the commands that talk there.

use std::io::{ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes to stdout; a reader that has seen enough is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::local_io("stdout")(error)),
        _ => Ok(()),
    }
}
