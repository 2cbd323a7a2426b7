//! The ProxyCommand: bridges stdin and stdout onto a stream to a device.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::network::network;
use super::signals;
use crate::cli;
use crate::error::{Error, Exit, Result};
use crate::iothub::{DEFAULT_API_VERSION, Identity, Initiate};
use crate::net::Network;
use crate::phase::Phases;
use crate::profile::{Credential, Name, Profiles, Seconds, default_path};
use crate::service::{self, Request};
use crate::tunnel::{self, End, Meter, Settings};

/// Below the ten seconds that Ansible gives ssh to connect, so that the reason is told before ssh gives up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

const BRIDGE: Settings = Settings {
    keepalive: Duration::from_secs(30),
    linger: Duration::from_secs(10),
    // What ssh still writes once the device has closed, nobody reads.
    drain: Duration::ZERO,
};

pub(super) fn run(args: &cli::Connect) -> Result<ExitCode> {
    let plan = Plan::new(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::local_io("the runtime"))?;
    let code = runtime.block_on(connect(plan));
    // A terminal is read by a thread that cannot be called back.
    runtime.shutdown_background();
    code
}

/// Everything that files and options decide.
struct Plan {
    network: Network,
    request: Request,
}

impl Plan {
    fn new(args: &cli::Connect) -> Result<Self> {
        let profiles = Profiles::read(&args.service.config.clone().unwrap_or_else(default_path))?;
        let name = Name { host: args.host.as_deref().unwrap_or_default(), typed: args.name.as_deref() };
        let destination = profiles.destination(&name, args.service.profile.as_deref(), |_| Vec::new())?;
        let profile = destination.profile;
        let credential = Credential::of(&profiles, destination.profile_name, profile)?;
        let identity = match &args.module {
            None => destination.identity,
            Some(module) => Identity::new(destination.identity.device(), Some(module))
                .map_err(|problem| Error::BadName { name: module.clone(), problem: problem.0 })?,
        };
        let stream = args
            .stream
            .clone()
            .or(destination.stream)
            .unwrap_or_else(|| profile.stream(args.port.unwrap_or(22)));
        let ca_file =
            args.service.ca_file.clone().or_else(|| profile.ca_file.as_deref().map(|f| profiles.relative(f)));
        let or = |option: Option<Duration>, file: Option<Seconds>, default| {
            option.or(file.map(|seconds| seconds.0)).unwrap_or(default)
        };
        log::info!(
            "profile {}: {identity} at {}, stream '{stream}'",
            destination.profile_name,
            credential.hub
        );
        let initiate = Initiate {
            identity,
            stream,
            api_version: profile.api_version.clone().unwrap_or_else(|| DEFAULT_API_VERSION.into()),
            connect_timeout: or(args.connect_timeout, profile.connect_timeout, CONNECT_TIMEOUT),
            response_timeout: or(args.response_timeout, profile.response_timeout, RESPONSE_TIMEOUT),
        };
        let authorization = credential.authorization(SystemTime::now())?;
        Ok(Self {
            network: network(
                ca_file.as_deref(),
                args.service.proxy.as_deref(),
                &profiles.path,
                profile.proxy.as_ref().map(|url| &url.0),
            )?,
            request: Request { hub: credential.hub, gateway: credential.gateway, authorization, initiate },
        })
    }
}

async fn connect(plan: Plan) -> Result<ExitCode> {
    let (input, output) = tunnel::take_stdio().map_err(Error::local_io("stdin and stdout"))?;
    let hangup = signals::hangup()?;
    let mut phases = Phases::default();
    let websocket = service::open(&plan.network, &plan.request, &mut phases).await?;
    let meter = Meter::default();
    let end = tunnel::bridge((input, output), websocket.io, &websocket.early, &BRIDGE, &meter, hangup).await;
    log::info!("ended: {end:?}, {} bytes sent, {} received", meter.sent(), meter.received());
    match end {
        End::Local | End::HungUp => Ok(ExitCode::SUCCESS),
        End::Peer(close) if close.is_normal() => Ok(ExitCode::SUCCESS),
        End::Peer(close) => {
            let code = close.code.map_or_else(String::new, |code| format!(" with {code}"));
            let reason = if close.reason.is_empty() { String::new() } else { format!(", {}", close.reason) };
            Err(Error::Cut { problem: format!("the gateway closed it{code}{reason}") })
        }
        // Whoever read stdout has gone, and with it everybody who could be told.
        End::LocalFailed(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::from(Exit::LocalIo as u8))
        }
        End::LocalFailed(source) => Err(Error::LocalIo { what: "stdin and stdout".into(), source }),
        End::Cut(error) => Err(Error::Cut { problem: error.to_string() }),
        End::Violation(what) => {
            Err(Error::Protocol { target: "the gateway".into(), problem: format!("it sent {what}") })
        }
        End::Silent(after) => Err(Error::Silent { after }),
    }
}
