//! The device's side, as a service.

use std::path::Path;
use std::process::ExitCode;

use super::network::network;
use super::signals;
use crate::agent::{self, Config};
use crate::cli;
use crate::error::{Error, Result};

const DEFAULT_CONFIG: &str = "/etc/iotstream/agent.toml";

pub(super) fn run(args: &cli::Agent) -> Result<ExitCode> {
    let path = args.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    let config = match &args.connection_string_file {
        Some(file) => Config::from_options(file, &args.target)?,
        None => Config::read(path)?,
    };
    let ca_file = args.ca_file.as_deref().or(config.ca_file.as_deref());
    let network = network(ca_file, args.proxy.as_deref(), path, config.proxy.as_ref())?;
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
