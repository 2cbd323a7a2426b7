//! The plan of a connection, from profile and options.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::options::{Az, Options};
use crate::backend::{self, Access, Dialer, Request};
use crate::config::Seconds;
use crate::config::network::network;
use crate::error::Result;
use crate::profile::{Name, Port, Profile, Profiles};
use crate::state::device_ids;
use crate::state::rate::Rate;
use crate::tunnel::Keepalive;

/// The default time that the service waits for the device to come online. It is below the ten seconds that Ansible gives ssh
/// to connect, so that ssh still prints the reason.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// The default time that the service waits for the device's answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What options and profile ask for, before the credential is read.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The profile's name.
    pub(crate) profile_name: &'a str,
    /// The profile.
    pub(crate) profile: &'a Profile,
    /// The request for the stream.
    pub(crate) request: Request,
}

impl<'a> Asked<'a> {
    /// Finds the profile, the device and the stream that `options` ask for.
    ///
    /// # Errors
    /// Returns the errors of [`Profiles::destination`].
    pub(crate) fn resolve(options: &Options, profiles: &'a Profiles) -> Result<Self> {
        let name = Name { host: &options.host, typed: options.name.as_deref() };
        let known = |profile: &str| device_ids::known(&profiles.path, profile);
        let destination = profiles.destination(&name, options.profile.name.as_deref(), known)?;
        let profile = destination.profile;
        let stream = options.stream.clone().or(destination.stream);
        let port = options.port.unwrap_or(22);
        let is_named = stream.is_some() || profile.ports.contains_key(&Port(port));
        let module = options.module.clone().or(destination.module);
        let request = Request {
            device: destination.device,
            default_module: profile.module.clone().filter(|_| module.is_none()),
            module,
            stream: stream.unwrap_or_else(|| profile.stream(port)),
            port: (!is_named).then_some(port),
            connect_timeout: setting(options.connect_timeout, profile.connect_timeout, CONNECT_TIMEOUT),
            response_timeout: setting(options.response_timeout, profile.response_timeout, RESPONSE_TIMEOUT),
        };
        Ok(Self { profile_name: destination.profile_name, profile, request })
    }
}

/// An option, else the profile's value, else the default.
fn setting(option: Option<Duration>, file: Option<Seconds>, default: Duration) -> Duration {
    option.or(file.map(|seconds| seconds.0)).unwrap_or(default)
}

/// A planned connection.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The dialer of the stream.
    pub dialer: Arc<dyn Dialer>,
    /// How long to retry while the device is offline.
    pub wait: Duration,
    /// The rate of new streams at the service, if limited.
    pub rate: Option<Rate>,
    /// When to ping a silent peer and when to give it up; `None` disables both.
    pub keepalive: Option<Keepalive>,
    /// Send a Close at the end of stdin. Otherwise the Close waits for the device's.
    pub half_close: bool,
}

impl Plan {
    /// Dials once, without delay, with the default keepalive.
    pub fn new(dialer: Arc<dyn Dialer>) -> Self {
        Self {
            dialer,
            wait: Duration::ZERO,
            rate: None,
            keepalive: Some(Keepalive::DEFAULT),
            half_close: true,
        }
    }

    /// Reads the profile and the credential. Blocks while the profile's command runs.
    ///
    /// # Errors
    /// Returns what is wrong with the options, the profile or the credential.
    pub fn read(options: &Options) -> Result<Self> {
        if let Some(az) = &options.az {
            return Self::of_az(options, az);
        }
        let profiles = options.profile.read()?;
        let Asked { profile_name, profile, request } = Asked::resolve(options, &profiles)?;
        let network = options.profile.network(&profiles, profile)?;
        let access = Access { profiles: &profiles, name: profile_name, profile, network };
        let dialer = backend::dialer(&access, request)?;
        log::info!("profile {}: {}", access.name, dialer.describe());
        let per_second = profile.streams_per_second.or(dialer.streams_per_second());
        Ok(Self {
            wait: setting(options.wait, profile.wait, Duration::ZERO),
            rate: per_second.and_then(|rate| Rate::of(&dialer.key(), rate)),
            keepalive: options.keepalive.map_or(Some(Keepalive::DEFAULT), Keepalive::every),
            half_close: profile.half_close.unwrap_or(true),
            dialer,
        })
    }

    /// The plan for a machine of Azure Arc that `az ssh` asks for, without a profile.
    fn of_az(options: &Options, az: &Az) -> Result<Self> {
        let request = Request {
            device: String::new(),
            module: options.module.clone(),
            default_module: None,
            stream: options.stream_asked(),
            port: options.port.filter(|_| options.stream.is_none()),
            connect_timeout: options.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            response_timeout: options.response_timeout.unwrap_or(RESPONSE_TIMEOUT),
        };
        let network = network(
            options.profile.ca_file.as_deref(),
            options.profile.proxy.as_deref(),
            Path::new(""),
            None,
        )?;
        let suffix = az.relay_suffix.as_deref();
        let dialer = backend::dialer_of_az(az.relay_info.as_deref(), suffix, &network, request)?;
        log::info!("{}", dialer.describe());
        let keepalive = options.keepalive.map_or(Some(Keepalive::DEFAULT), Keepalive::every);
        Ok(Self { wait: options.wait.unwrap_or_default(), keepalive, ..Self::new(dialer) })
    }
}
