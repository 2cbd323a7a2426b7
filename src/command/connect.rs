//! The ProxyCommand.

use std::process::ExitCode;

use crate::cli;
use crate::connect::{self, Caller, Options, Plan};
use crate::error::{Error, Result};
use crate::logging;

pub(super) fn run(args: &cli::Connect) -> Result<ExitCode> {
    let options = Options::from(args);
    let runtime = super::runtime()?;
    let code = runtime.block_on(async {
        let caller = Caller::take()?;
        let asked = options.clone();
        Ok(connect::run(&options, move || Plan::read(&asked), caller).await)
    });
    // A terminal is read by a thread that cannot be called back, and so is a secret store.
    runtime.shutdown_background();
    code
}

/// Reports what was wrong before a connection could be tried, to ssh as well: with what was `asked`, or with a command
/// line that cannot be parsed.
pub fn refuse(asked: Option<&cli::Connect>, error: &Error) -> ExitCode {
    let options = asked.map(Options::from);
    let Ok(runtime) = super::runtime() else {
        logging::report(error);
        return error.exit().into();
    };
    let code = runtime.block_on(connect::refuse(options.as_ref(), error));
    runtime.shutdown_background();
    code
}
