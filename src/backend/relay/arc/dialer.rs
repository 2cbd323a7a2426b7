//! The dialer of Arc machines.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::credentials::{Credentials, Listed};
use super::error::Error as ArcError;
use super::{RelayInfo, ResourceId};
use crate::backend::arm::Arm;
use crate::backend::relay::caller::{Credential, DEFAULT_LIMIT, Request, Starts, check, open};
use crate::backend::relay::proto::{SUFFIX, header};
use crate::backend::{self, Access, Checked, Dialer, Joined, Pending};
use crate::config::read_secret;
use crate::error::{Error, Exit, Problem, Result};
use crate::net::{Network, Stream, WebSocket};
use crate::platform::process::RELAY_INFO;
use crate::secret::Secret;
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// Opens a stream to a port of an Arc machine, whose own agent connects it.
#[derive(Debug)]
pub(crate) struct ArcDialer {
    network: Network,
    credentials: Credentials,
    /// The machine, for messages.
    machine: String,
    port: u16,
    stream: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    starts: Starts,
}

impl ArcDialer {
    /// The dialer for `asked` at the machines of a profile, whose resource ids are made of `template`.
    ///
    /// # Errors
    /// Returns an error if a name is invalid, or something is asked for that an Arc machine does not have.
    pub(crate) fn new(access: &Access<'_>, template: &str, asked: backend::Request) -> Result<Self> {
        if let Some(module) = &asked.module {
            return Err(Error::usage(
                format!("module '{module}' cannot be reached: Azure Arc has machines, and no modules"),
                "leave out --module, and the module of the alias",
            ));
        }
        let machine = ResourceId::machine(template, &asked.device).map_err(|problem| {
            Error::credential(
                format!("profile '{}'", access.name),
                Problem::of(problem),
                "`az connectedmachine show` prints the id of a machine",
            )
        })?;
        let suffix = access.profile.relay_suffix.as_deref().unwrap_or(SUFFIX).to_owned();
        let listed = Listed { arm: Arm::of(access)?, machine, suffix };
        Self::to(&access.network, Credentials::Listed(listed), asked)
    }

    /// The dialer for the machine whose credentials `az ssh` has written to `file`, or to its variable. `suffix` is the
    /// domain of relays. The file may be readable by others, because `az ssh` writes it so.
    ///
    /// # Errors
    /// Returns an error if they cannot be read, or are not for a relay below `suffix`.
    pub(crate) fn of_az(
        file: Option<&Path>,
        suffix: Option<&str>,
        network: &Network,
        asked: backend::Request,
    ) -> Result<Self> {
        const HINT: &str = "`az ssh config` writes such a file, and `az ssh arc` sets the variable";
        let (source, text) = match file {
            Some(file) => {
                let source = format!("file {}", file.display());
                let unreadable = |problem: Problem| Error::credential(&*source, problem, HINT);
                let read = read_secret(file).map_err(|error| unreadable(error.into()))?;
                let text = read.tolerating_readers()?;
                (source, text)
            }
            None => {
                let source = format!("environment variable {RELAY_INFO}");
                let value = std::env::var(RELAY_INFO);
                let value = value.map_err(|_| Error::credential(&*source, "it is not set", HINT))?;
                (source, Secret::new(value))
            }
        };
        let unusable = |problem| Error::credential(&*source, Problem::of(problem), HINT);
        let info = RelayInfo::decode(text.expose()).map_err(unusable)?;
        info.check_cloud(suffix.unwrap_or(SUFFIX)).map_err(|problem| {
            Error::credential(
                &*source,
                Problem::of(problem),
                "name the domain of another cloud with --relay-suffix",
            )
        })?;
        // az names no machine.
        let asked = backend::Request { device: info.entity.to_string(), ..asked };
        Self::to(network, Credentials::Passed { info, source }, asked)
    }

    fn to(network: &Network, credentials: Credentials, asked: backend::Request) -> Result<Self> {
        let port = asked.port.or_else(|| port(&asked.stream)).ok_or_else(|| {
            Error::usage(
                format!("stream '{}' cannot be reached: Azure Arc connects to ports", asked.stream),
                "leave out --stream, and name a port",
            )
        })?;
        let or_default = |limit: Duration| if limit.is_zero() { DEFAULT_LIMIT } else { limit };
        Ok(Self {
            network: network.preferring_p384()?,
            credentials,
            machine: asked.device,
            port,
            stream: asked.stream,
            connect_timeout: or_default(asked.connect_timeout),
            response_timeout: or_default(asked.response_timeout),
            starts: Starts::default(),
        })
    }

    /// The request for the stream, with the headers of Arc \[Z].
    fn request(&self, info: &RelayInfo) -> Result<Request> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: &str| {
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                Error::protocol("Azure Arc", format!("its {name} cannot be put into a header"))
            })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, Error>(())
        };
        if let Some(configuration) = &info.configuration {
            add(header::SERVICE_CONFIGURATION, configuration.expose())?;
        }
        add(header::ARC_TARGET, &format!("localhost:{}", self.port))?;
        Ok(Request {
            credential: Arc::new(Credential::given(info.namespace.clone(), info.token.clone())),
            entity: info.entity.clone(),
            device: self.machine.clone(),
            stream: self.stream.clone(),
            suffix: None,
            headers,
            listener: None,
            port: None,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
        })
    }

    /// Opens the stream. Credentials that the relay refuses are listed again, once.
    async fn websocket(&self, turn: Option<Turn<'_>>, phases: &mut Phases) -> Result<WebSocket<Stream>> {
        let info = self.credentials.get(phases).await?;
        let error = match self.try_with(&info, turn, phases).await {
            Err(error) if error.exit() == Exit::Denied => error,
            opened => return opened,
        };
        match self.credentials.renew(phases).await? {
            Some(info) => {
                log::info!("{error}; trying again with new credentials");
                self.try_with(&info, None, phases).await
            }
            None => Err(error),
        }
    }

    async fn try_with(
        &self,
        info: &RelayInfo,
        turn: Option<Turn<'_>>,
        phases: &mut Phases,
    ) -> Result<WebSocket<Stream>> {
        let request = self.request(info)?;
        let id = self.starts.begin();
        let opened = open(&self.network, &request, id, turn, phases).await;
        opened.map_err(|error| {
            self.starts.failed(id);
            match error {
                Error::Backend(refusal) => ArcError::Refused(refusal).into(),
                error => error,
            }
        })
    }
}

/// The port of a stream that is named for one.
fn port(stream: &str) -> Option<u16> {
    match stream.strip_prefix("tcp-").unwrap_or(stream) {
        "ssh" => Some(22),
        port => port.parse().ok().filter(|port| *port > 0),
    }
}

impl Dialer for ArcDialer {
    fn describe(&self) -> String {
        let Self { machine, port, .. } = self;
        format!("Azure Arc machine {machine}, port {port}")
    }

    fn device(&self) -> String {
        self.machine.clone()
    }

    fn service(&self) -> String {
        match &self.credentials {
            Credentials::Listed(listed) => listed.arm.endpoint().authority(),
            Credentials::Passed { info, .. } => info.namespace.to_string(),
        }
    }

    fn stream(&self) -> &str {
        &self.stream
    }

    fn streams_per_second(&self) -> Option<u32> {
        None
    }

    fn daily_quota(&self) -> Option<u64> {
        None
    }

    fn open<'a>(&'a self, turn: Option<Turn<'a>>, phases: &'a mut Phases) -> Pending<'a, Result<Joined>> {
        Box::pin(async move { Ok(self.websocket(turn, phases).await?.into()) })
    }

    fn check(&self) -> Pending<'_, Checked> {
        Box::pin(async {
            let since = Instant::now();
            let request = match self.credentials.get(&mut Phases::default()).await {
                Ok(info) => self.request(&info),
                Err(error) => Err(error),
            };
            let request = match request {
                Ok(request) => request,
                Err(error) => return check::no_token(error, since),
            };
            let (since, mut phases) = (Instant::now(), Phases::default());
            let opened = self.websocket(None, &mut phases).await.map(|websocket| {
                let date = websocket.date;
                (websocket.into(), date)
            });
            check::explain(&request, opened, &phases, since.elapsed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn streams_that_are_named_for_a_port_have_one() {
        assert_eq!(
            ["ssh", "tcp-2222", "3389", "tcp-0", "console", ""].map(port),
            [Some(22), Some(2222), Some(3389), None, None, None]
        );
    }
}
