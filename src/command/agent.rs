//! Runs the agent: the device's side.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::output::print_findings;
use super::prompt;
use crate::agent::{self, Config, Installation, Order, RereadAll};
use crate::backend::is_iot_edge_module;
use crate::backend::provisioning;
use crate::config::network::network;
use crate::error::{Error, Result};
use crate::net::Network;
use crate::platform::directories::agent as agent_directory;
use crate::platform::private_file::{Access, replace};
use crate::platform::signals::ServiceSignals;
use crate::platform::{ServiceFile, ServiceSignal};
use crate::platform::{restart, service_manager};
use crate::{check, cli};

/// The configuration file that is read where none is named.
fn default_config() -> PathBuf {
    agent_directory().join("agent.toml")
}

pub(super) fn run(args: &cli::Agent) -> Result<ExitCode> {
    if let Some(id) = &args.derive_key {
        return derive_key(id);
    }
    if args.install {
        return install(args);
    }
    if args.check {
        return super::runtime()?.block_on(check(args));
    }
    if args.restartable {
        return super::runtime()?.block_on(restart::run(without_restartable(std::env::args_os())));
    }
    if let Some(main) = args.main_process {
        restart::serve_for(main)?;
    }
    let args = args.clone();
    service_manager::run(move || serve(&args))
}

/// This command line for the child of --restartable.
fn without_restartable(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    words.skip(1).filter(|word| word != "--restartable").collect()
}

fn serve(args: &cli::Agent) -> Result<ExitCode> {
    let runtime = super::runtime()?;
    let (config, network) = read(args)?;
    warn(&config);
    let again = args.clone();
    let reread: RereadAll = Arc::new(move || read(&again).map(|(config, _)| config.listeners));
    runtime.block_on(async {
        let (orders, taken) = mpsc::channel(1);
        let ordering = give_orders(args, orders)?;
        tokio::select! {
            served = agent::serve(config, network, Some(reread), taken) => served,
            () = ordering => Err(Error::Bug("the agent gets no orders any more".into())),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Warns of files that are used though other users can change them.
fn warn(config: &Config) {
    for exposure in config.warnings() {
        log::warn!("{exposure}: {}", exposure.fix());
    }
}

fn config_path(args: &cli::Agent) -> PathBuf {
    args.config.clone().unwrap_or_else(default_config)
}

/// Whether the agent runs without a configuration file: options name what it needs, or IoT Edge does.
fn has_no_file(args: &cli::Agent) -> bool {
    let has_options = args.connection_string_file.is_some() || !args.target.is_empty();
    let is_named = args.config.is_some() || default_config().exists();
    has_options || (is_iot_edge_module() && !is_named)
}

fn read(args: &cli::Agent) -> Result<(Config, Network)> {
    let path = config_path(args);
    let mut config = if has_no_file(args) {
        Config::from_options(args.connection_string_file.as_deref(), &args.target)?
    } else {
        Config::read(&path)?
    };
    let control = args.control.clone().or(config.control).or_else(|| agent::default_socket(false));
    config.control = control;
    let ca_file = args.ca_file.as_deref().or(config.ca_file.as_deref());
    let network = network(ca_file, args.proxy.as_deref(), &path, config.proxy.as_ref())?;
    Ok((config, network))
}

/// Turns signals into orders: SIGHUP reloads, SIGTERM and SIGINT stop, and stop at once the second time, SIGUSR2 leaves the hub.
fn give_orders(args: &cli::Agent, orders: mpsc::Sender<Order>) -> Result<impl Future<Output = ()>> {
    let mut signals = ServiceSignals::listen()?;
    let args = args.clone();
    Ok(async move {
        loop {
            let order = match signals.next().await {
                ServiceSignal::Reload => {
                    let args = args.clone();
                    // A command may take its time, and streams must not wait.
                    let reading = tokio::task::spawn_blocking(move || read(&args)).await;
                    let read = reading.unwrap_or_else(|panicked| Err(Error::Bug(panicked.to_string())));
                    if let Ok((config, _)) = &read {
                        warn(config);
                    }
                    Order::Reload(read.map(Box::new))
                }
                ServiceSignal::Stop => Order::Stop,
                ServiceSignal::Leave => Order::Leave,
            };
            // An agent that ends takes no more orders.
            let _ = orders.send(order).await;
        }
    })
}

async fn check(args: &cli::Agent) -> Result<ExitCode> {
    let origin = match &args.connection_string_file {
        Some(file) => file.display().to_string(),
        None if has_no_file(args) => "the environment of IoT Edge".into(),
        None => config_path(args).display().to_string(),
    };
    let findings = agent::check(&origin, read(args)).await;
    print_findings(&findings, args.json)?;
    Ok(check::exit(&findings).map_or(ExitCode::SUCCESS, Into::into))
}

fn derive_key(id: &str) -> Result<ExitCode> {
    let group_key = prompt::secret("group key", |line| !line.trim().is_empty())?;
    let key = provisioning::derive_key("stdin", &group_key, id)?;
    say(key.expose())?;
    say("\n")?;
    Ok(ExitCode::SUCCESS)
}

fn install(args: &cli::Agent) -> Result<ExitCode> {
    let program = std::env::current_exe().map_err(Error::local_io("this program's own file"))?;
    let config = config_path(args);
    let config = config.canonicalize().map_err(Error::local_io(config.display().to_string()))?;
    let kind = ServiceFile::HERE;
    let Installation { file, preparation } = agent::install(kind, &program, &config, args.aziot)?;
    let Some(directory) = &args.write else {
        say(&file)?;
        return Ok(ExitCode::SUCCESS);
    };
    let path = directory.join(kind.name());
    replace(&path, file.as_bytes(), Access::Everyone)
        .map_err(|problem| problem.into_error(path.display().to_string()))?;
    say(&format!(
        "{} is written; to run it now and at each start:\n{preparation}{}",
        path.display(),
        kind.start(&path)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Error::local_io("stdout"))
}
