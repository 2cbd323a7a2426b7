//! A service that restarts without cutting its streams, which Windows does not have: it ends a service's processes.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::{Error, Result};

const UNSUPPORTED: &str = "streams cannot outlast a restart on Windows";

/// Fails.
///
/// # Errors
/// Always.
pub(crate) async fn run(_: Vec<OsString>) -> Result<ExitCode> {
    Err(Error::usage(UNSUPPORTED, "leave out --restartable"))
}

/// Fails.
///
/// # Errors
/// Always.
pub(crate) fn serve_for(_: u32) -> Result<()> {
    Err(Error::usage(UNSUPPORTED, "leave out --main-process"))
}

/// None.
pub(crate) fn main_process() -> Option<u32> {
    None
}
