//! What files and options decide about a connection.

use std::time::{Duration, SystemTime};

use crate::backend::iothub::caller::Request;
use crate::backend::iothub::proto::{DEFAULT_API_VERSION, HubAddress, Identity, Initiate};
use crate::cli;
use crate::config::Seconds;
use crate::config::network::network;
use crate::error::{Error, Result};
use crate::net::Network;
use crate::profile::{Credential, Name, Profiles, default_path};
use crate::state::device_ids;
use crate::state::rate::Rate;

/// Below the ten seconds that Ansible gives ssh to connect, so that the reason is told before ssh gives up.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Plan {
    pub(crate) network: Network,
    credential: Credential,
    initiate: Initiate,
    /// How long a device that is offline is waited for.
    pub(crate) wait: Duration,
    /// Of new streams at the hub, if they are paced.
    pub(crate) rate: Option<Rate>,
}

impl Plan {
    /// What connects to `host`: for ssh, at its port.
    pub(crate) fn new(args: &cli::Connect) -> Result<Self> {
        let host = args.host.as_deref().unwrap_or_default();
        Self::decide(host, &args.way, args.stream.as_deref(), args.port)
    }

    /// What asks `host` for the stream that measures, whatever the profile says of streams.
    pub(crate) fn to_measure(host: &str, way: &cli::Way, stream: &str) -> Result<Self> {
        Self::decide(host, way, Some(stream), None)
    }

    fn decide(host: &str, way: &cli::Way, stream: Option<&str>, port: Option<u16>) -> Result<Self> {
        let service = &way.service;
        let profiles = Profiles::read(&service.config.clone().unwrap_or_else(default_path))?;
        let name = Name { host, typed: way.name.as_deref() };
        let destination = profiles.destination(&name, service.profile.as_deref(), |profile| {
            device_ids::known(&profiles.path, profile)
        })?;
        let profile = destination.profile;
        let credential = Credential::of(&profiles, destination.profile_name, profile)?;
        let identity = match &way.module {
            None => destination.identity,
            Some(module) => Identity::new(destination.identity.device(), Some(module))
                .map_err(|problem| Error::BadName { name: module.clone(), problem: problem.0 })?,
        };
        let stream = stream
            .map(str::to_owned)
            .or(destination.stream)
            .unwrap_or_else(|| profile.stream(port.unwrap_or(22)));
        let ca_file =
            service.ca_file.clone().or_else(|| profile.ca_file.as_deref().map(|f| profiles.relative(f)));
        let or = |option: Option<Duration>, file: Option<Seconds>, default| {
            option.or(file.map(|seconds| seconds.0)).unwrap_or(default)
        };
        let profile_name = destination.profile_name;
        let initiate = Initiate {
            identity,
            stream,
            api_version: profile.api_version.clone().unwrap_or_else(|| DEFAULT_API_VERSION.into()),
            connect_timeout: or(way.connect_timeout, profile.connect_timeout, CONNECT_TIMEOUT),
            response_timeout: or(way.response_timeout, profile.response_timeout, RESPONSE_TIMEOUT),
        };
        let proxy = profile.proxy.as_ref().map(|url| &url.0);
        let network = network(ca_file.as_deref(), service.proxy.as_deref(), &profiles.path, proxy)?;
        let wait = or(way.wait, profile.wait, Duration::ZERO);
        let service = &credential.hub;
        let per_second = profile.streams_per_second.or(crate::backend::iothub::streams_per_second(service));
        let rate = per_second.and_then(|rate| Rate::of(&service.to_string(), rate));
        let plan = Self { network, credential, initiate, wait, rate };
        log::info!("profile {profile_name}: {}", plan.describe());
        Ok(plan)
    }

    /// The stream that is asked for, and of whom.
    pub(crate) fn describe(&self) -> String {
        let Initiate { identity, stream, .. } = &self.initiate;
        format!("{identity} at {}, stream '{stream}'", self.credential.hub)
    }

    pub(crate) fn stream(&self) -> &str {
        &self.initiate.stream
    }

    /// The device or module, and the hub.
    pub(crate) fn ends(&self) -> (&Identity, &HubAddress) {
        (&self.initiate.identity, &self.credential.hub)
    }

    /// What the credential is, and nothing that it holds.
    pub(crate) fn describe_credential(&self) -> String {
        self.credential.policy().map_or_else(|| "a token".into(), |policy| format!("policy {policy}"))
    }

    /// A request with a token of its own.
    pub(crate) fn request(&self) -> Result<Request> {
        Ok(Request {
            hub: self.credential.hub.clone(),
            gateway: self.credential.gateway.clone(),
            authorization: self.credential.authorization(SystemTime::now())?,
            initiate: self.initiate.clone(),
        })
    }
}
