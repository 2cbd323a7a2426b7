use std::process::ExitCode;

use crate::cli;
use crate::error::{Error, Result};

pub fn run(_args: &cli::Emulator) -> Result<ExitCode> {
    Err(Error::Bug("not built yet".into()))
}
