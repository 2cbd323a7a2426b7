//! The device's side, as a service.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

use super::signals;
use crate::agent::{self, Config, Order};
use crate::cli;
use crate::error::{Error, Result};
use crate::net::Network;

const DEFAULT_CONFIG: &str = "/etc/iotstream/agent.toml";

pub(super) fn run(args: &cli::Agent) -> Result<ExitCode> {
    let (config, network) = read(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::local_io("the runtime"))?;
    runtime.block_on(async {
        let (orders, taken) = mpsc::channel(1);
        let ordering = give_orders(args, orders)?;
        tokio::select! {
            served = agent::serve(config, network, taken) => served,
            () = ordering => Err(Error::Bug("nobody gives the agent orders".into())),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read(args: &cli::Agent) -> Result<(Config, Network)> {
    let config = match &args.connection_string_file {
        Some(file) => Config::from_options(file, &args.target)?,
        None => Config::read(args.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG)))?,
    };
    let network = config.network(args.ca_file.as_deref())?;
    Ok((config, network))
}

/// Turns signals into orders: SIGHUP reloads, SIGTERM and SIGINT stop, and stop at once the second time.
fn give_orders(args: &cli::Agent, orders: mpsc::Sender<Order>) -> Result<impl Future<Output = ()>> {
    let mut hangup = signals::listen(SignalKind::hangup())?;
    let mut terminate = signals::listen(SignalKind::terminate())?;
    let mut interrupt = signals::listen(SignalKind::interrupt())?;
    Ok(async move {
        loop {
            let order = tokio::select! {
                _ = hangup.recv() => Order::Reload(read(args).map(Box::new)),
                _ = terminate.recv() => Order::Stop,
                _ = interrupt.recv() => Order::Stop,
            };
            // The agent is ending when it takes no more.
            let _ = orders.send(order).await;
        }
    })
}
