//! The dialer of Azure Relay.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::check;
use super::credential::Credential;
use super::open::open;
use super::request::Request;
use super::starts::Starts;
use crate::backend::relay::error::Error as RelayError;
use crate::backend::relay::preamble::propose;
use crate::backend::relay::proto::{Entity, Malformed, Template, encode, header, listener_id};
use crate::backend::{self, Access, Checked, Dialer, Joined, Pending, Stored};
use crate::config::Preamble;
use crate::error::{Error, Problem, Result};
use crate::net::Network;
use crate::profile::Profile;
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// Each time limit that is left to the service: that of Microsoft's clients \[D]\[J].
pub(in crate::backend::relay) const DEFAULT: Duration = Duration::from_secs(70);

/// Opens a stream to a device through a relay.
#[derive(Debug)]
pub(crate) struct RelayDialer {
    network: Network,
    request: Request,
    starts: Starts,
}

impl RelayDialer {
    /// The dialer for `asked` at a profile's namespace.
    ///
    /// # Errors
    /// Returns an error if a name or the credential is invalid, or a module is asked for.
    pub(crate) fn new(access: &Access<'_>, stored: Stored<'_>, asked: backend::Request) -> Result<Self> {
        let Access { name, profile, .. } = *access;
        let credential = Credential::of(name, profile.relay_suffix.as_deref(), stored)?;
        if let Some(module) = &asked.module {
            return Err(Error::usage(
                format!("module '{module}' cannot be reached: Azure Relay has devices, and no modules"),
                "leave out --module, and the module of the alias",
            ));
        }
        let template = template(name, profile, credential.entity.as_ref())?;
        let entity = template
            .entity(&asked.device)
            .map_err(|problem| Error::BadName { name: asked.device.clone(), problem: problem.0 })?;
        let mut headers = HeaderMap::new();
        let mut listener = None;
        if template.is_shared() {
            let device = HeaderValue::try_from(encode(&asked.device).to_string())
                .map_err(|error| Error::Bug(error.to_string()))?;
            headers.insert(HeaderName::from_static(header::DEVICE), device);
            listener = Some(listener_id(&credential.namespace, &entity, &asked.device));
        }
        let is_in_path = profile.stream_in_path.unwrap_or(profile.preamble.is_none());
        let or_default = |limit: Duration| if limit.is_zero() { DEFAULT } else { limit };
        let port = profile.preamble.map(|Preamble::Azbridge| match asked.port {
            Some(port) => port.to_string(),
            None => asked.stream.clone(),
        });
        let request = Request {
            credential: Arc::new(credential),
            entity,
            device: asked.device,
            suffix: is_in_path.then(|| asked.stream.clone()),
            stream: asked.stream,
            headers,
            listener,
            port,
            connect_timeout: or_default(asked.connect_timeout),
            response_timeout: or_default(asked.response_timeout),
        };
        Ok(Self { network: access.network.preferring_p384()?, request, starts: Starts::default() })
    }

    /// Opens the stream, and returns the namespace's time with it. A failed start is continued by the next call.
    async fn join(
        &self,
        turn: Option<Turn<'_>>,
        phases: &mut Phases,
    ) -> Result<(Joined, Option<SystemTime>)> {
        let Request { credential, entity, port, response_timeout, .. } = &self.request;
        let id = self.starts.begin();
        let opened = open(&self.network, &self.request, id, turn, phases).await;
        let websocket = opened.inspect_err(|_| self.starts.failed(id))?;
        let date = websocket.date;
        let Some(port) = port else { return Ok((websocket.into(), date)) };
        let joined = propose(websocket.into(), port, *response_timeout).await.map_err(|problem| {
            RelayError::Preamble {
                namespace: credential.namespace.to_string(),
                entity: entity.to_string(),
                port: port.clone(),
                problem,
            }
        })?;
        Ok((joined, date))
    }
}

/// The hybrid connections of a profile's devices: its `entity`, else the `own` one of its connection string, else one named
/// like each device.
pub(super) fn template(name: &str, profile: &Profile, own: Option<&Entity>) -> Result<Template> {
    let invalid = |problem: Malformed| {
        Error::credential(
            format!("profile '{name}'"),
            Problem::because(format!("entity: {problem}"), problem),
            "write entity = \"{device}\", or a path with {device} in it",
        )
    };
    match (&profile.entity, own) {
        (Some(text), _) => Template::parse(text).map_err(invalid),
        (None, Some(own)) => Template::parse(&own.to_string()).map_err(invalid),
        (None, None) => Ok(Template::per_device()),
    }
}

impl Dialer for RelayDialer {
    fn describe(&self) -> String {
        let Request { credential, entity, device, stream, .. } = &self.request;
        let at = &credential.namespace;
        if entity.to_string() == *device {
            return format!("device {device} at {at}, stream '{stream}'");
        }
        format!("device {device} at {at}, hybrid connection '{entity}', stream '{stream}'")
    }

    fn device(&self) -> String {
        self.request.device.clone()
    }

    fn service(&self) -> String {
        self.request.credential.namespace.to_string()
    }

    fn stream(&self) -> &str {
        &self.request.stream
    }

    fn streams_per_second(&self) -> Option<u32> {
        None
    }

    fn daily_quota(&self) -> Option<u64> {
        None
    }

    fn open<'a>(&'a self, turn: Option<Turn<'a>>, phases: &'a mut Phases) -> Pending<'a, Result<Joined>> {
        Box::pin(async move { Ok(self.join(turn, phases).await?.0) })
    }

    fn check(&self) -> Pending<'_, Checked> {
        Box::pin(async {
            let since = Instant::now();
            if let Err(error) = self.request.upgrade(None).await {
                return check::no_token(error, since);
            }
            let (since, mut phases) = (Instant::now(), Phases::default());
            let opened = self.join(None, &mut phases).await;
            check::explain(&self.request, opened, &phases, since.elapsed())
        })
    }
}
