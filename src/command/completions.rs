//! Prints a completion script.

use std::process::ExitCode;

use crate::cli;
use crate::cli::complete::write_loader;
use crate::error::{Error, Result};

pub(super) fn run(args: &cli::Completions) -> Result<ExitCode> {
    write_loader(&args.shell, "iotstream", &mut std::io::stdout()).map_err(Error::local_io("stdout"))?;
    Ok(ExitCode::SUCCESS)
}
