//! The device's side, as a service.

use std::path::Path;
use std::process::ExitCode;

use super::signals;
use crate::agent::{self, Config};
use crate::cli;
use crate::error::{Error, Result};
use crate::net::{Network, Tls};

const DEFAULT_CONFIG: &str = "/etc/iotstream/agent.toml";

pub(super) fn run(args: &cli::Agent) -> Result<ExitCode> {
    let config = match &args.connection_string_file {
        Some(file) => Config::from_options(file, &args.target)?,
        None => Config::read(args.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG)))?,
    };
    let network = Network::new(Tls::new(args.ca_file.as_deref().or(config.ca_file.as_deref()))?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::local_io("the runtime"))?;
    runtime.block_on(async {
        let stop = signals::termination()?;
        agent::serve(config, network, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
