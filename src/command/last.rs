//! Prints the record of the last failure.

use std::io::Write;
use std::process::ExitCode;

use crate::error::{Error, Exit, Result};
use crate::state::last_failure;

pub(super) fn run() -> Result<ExitCode> {
    let Some(record) = last_failure::last() else {
        log::warn!("no failure is on record");
        return Ok(Exit::Other.into());
    };
    std::io::stdout().write_all(record.as_bytes()).map_err(Error::local_io("stdout"))?;
    Ok(ExitCode::SUCCESS)
}
