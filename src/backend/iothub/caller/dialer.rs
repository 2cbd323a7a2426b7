//! The dialer of IoT Hub.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::check::check;
use super::credential::Credential;
use super::default_module::{DefaultModule, is_without_module};
use super::open::{Request, open_in_turn};
use super::reports::{self, Report, is_unregistered};
use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::proto::{DEFAULT_API_VERSION, Identity, Initiate, Malformed};
use crate::backend::iothub::streams_per_second;
use crate::backend::{self, Access, Checked, Dialer, Joined, Pending, Reported, Stored, Wanted};
use crate::error::{Error, Result};
use crate::net::Network;
use crate::state::gateways;
use crate::state::rate::Turn;
use crate::time::phase::Phases;

/// The bytes that all device streams of a hub together may carry a day \[D].
const DAILY_QUOTA: u64 = 300_000_000;

/// Opens a stream to a device or module through a hub.
#[derive(Debug)]
pub(crate) struct HubDialer {
    network: Network,
    credential: Arc<Credential>,
    /// The request for a stream of the device or module, or of the default module.
    initiate: Initiate,
    default: Option<DefaultModule>,
    /// The tasks that renew copies of reports. Dropping the set aborts them.
    renewing: Mutex<JoinSet<()>>,
}

impl HubDialer {
    /// The dialer for `request` at a profile's hub.
    ///
    /// # Errors
    /// Returns an error if an id or the credential is invalid.
    pub(crate) fn new(access: &Access<'_>, stored: Stored<'_>, request: backend::Request) -> Result<Self> {
        let default = request.default_module.as_deref().filter(|_| request.module.is_none());
        let identity = identity(&request.device, request.module.as_deref())?;
        let credential = Arc::new(Credential::of(access.name, stored)?);
        let (identity, default) = match default {
            None => (identity, None),
            Some(module) => {
                let module = self::identity(identity.device(), Some(module))?;
                (module.clone(), Some(DefaultModule::new(credential.hub.key(), module, identity)))
            }
        };
        let api_version = access.profile.api_version.clone();
        let initiate = Initiate {
            identity,
            stream: request.stream,
            api_version: api_version.unwrap_or_else(|| DEFAULT_API_VERSION.into()),
            connect_timeout: request.connect_timeout,
            response_timeout: request.response_timeout,
        };
        Ok(Self {
            network: access.network.clone(),
            credential,
            initiate,
            default,
            renewing: Mutex::default(),
        })
    }

    /// A request with a new token. A token command may wait for the user, so it runs in a separate thread while the caller
    /// can still be seen to end.
    async fn request(&self) -> Result<Request> {
        let credential = Arc::clone(&self.credential);
        let authorizing = tokio::task::spawn_blocking(move || credential.authorization(SystemTime::now()));
        Ok(Request {
            authorization: authorizing.await.map_err(|error| Error::Bug(error.to_string()))??,
            hub: self.credential.hub.clone(),
            gateway: self.credential.gateway.clone(),
            initiate: self.initiate.clone(),
        })
    }

    /// Opens the stream of the default module, else of the device itself; or the other way round where the device is known to
    /// have no such module.
    async fn open(&self, turn: Option<Turn<'_>>, phases: &mut Phases) -> Result<Joined> {
        let mut request = self.request().await?;
        let Some(default) = &self.default else { return self.open_one(&request, turn, phases).await };
        let (first, second) = default.order();
        default.ask(first);
        request.initiate.identity.clone_from(first);
        let error = match self.open_one(&request, turn, phases).await {
            Err(error) if default.may_be_other(first, &error) => error,
            opened => return opened,
        };
        log::info!("{error}; trying {second}");
        default.ask(second);
        request.initiate.identity.clone_from(second);
        let opened = self.open_one(&request, turn, phases).await;
        if second == default.device() {
            default.note(opened.as_ref().err());
            return opened.map_err(|found| HubError::neither(found, &error));
        }
        opened.map_err(|found| {
            if !is_without_module(&found) {
                return HubError::neither(found, &error);
            }
            default.ask(first);
            default.note(Some(&error));
            HubError::neither(error, &found)
        })
    }

    /// Opens the stream of one identity. Dials the hub's last gateway at the same time, because the hub nearly always names
    /// the same one. Renews the copy of what the identity reports while the hub waits for the device, and beyond.
    async fn open_one(
        &self,
        request: &Request,
        turn: Option<Turn<'_>>,
        phases: &mut Phases,
    ) -> Result<Joined> {
        let hub = self.key();
        let guess = gateways::known(&hub);
        let asking = || {
            let renewing = self.report(&request.initiate.identity).renew(request.clone());
            self.renewing.lock().unwrap_or_else(PoisonError::into_inner).spawn(renewing);
        };
        let websocket = open_in_turn(&self.network, request, turn, guess.as_ref(), asking, phases).await?;
        if guess.as_ref() != Some(&websocket.server) {
            gateways::keep(&hub, &websocket.server);
        }
        Ok(websocket.into())
    }

    /// The report of the default module, else of the device itself; or the other way round, in the order of [`Self::open`].
    async fn reported(&self, wanted: Wanted<'_>) -> Result<Reported> {
        let deadline = Instant::now() + reports::LIMIT;
        let of = |identity| async move {
            self.report(identity).wanted(wanted, self.stream(), self.request(), deadline).await
        };
        let Some(default) = &self.default else { return of(&self.initiate.identity).await };
        let (first, second) = default.order();
        default.ask(first);
        match of(first).await {
            Err(error) if is_unregistered(&error) => {
                log::info!("{error}; trying {second}");
                default.ask(second);
                of(second).await
            }
            found => found,
        }
    }

    fn report(&self, identity: &Identity) -> Report {
        Report::new(&self.network, &self.credential.hub, identity)
    }
}

impl Dialer for HubDialer {
    fn describe(&self) -> String {
        let Initiate { identity, stream, .. } = &self.initiate;
        let device = self.default.as_ref().map(|default| format!(", else {},", default.device()));
        format!("{identity}{} at {}, stream '{stream}'", device.unwrap_or_default(), self.credential.hub)
    }

    fn device(&self) -> String {
        let asked = self.default.as_ref().map(DefaultModule::asked);
        asked.as_ref().unwrap_or(&self.initiate.identity).client_id()
    }

    fn service(&self) -> String {
        self.credential.hub.to_string()
    }

    fn key(&self) -> String {
        self.credential.hub.key()
    }

    fn stream(&self) -> &str {
        &self.initiate.stream
    }

    fn streams_per_second(&self) -> Option<u32> {
        streams_per_second(&self.credential.hub)
    }

    fn daily_quota(&self) -> Option<u64> {
        Some(DAILY_QUOTA)
    }

    fn open<'a>(&'a self, turn: Option<Turn<'a>>, phases: &'a mut Phases) -> Pending<'a, Result<Joined>> {
        Box::pin(self.open(turn, phases))
    }

    fn reported<'a>(&'a self, wanted: Wanted<'a>) -> Pending<'a, Result<Reported>> {
        Box::pin(self.reported(wanted))
    }

    fn check(&self) -> Pending<'_, Checked> {
        Box::pin(check(&self.network, self.request(), &self.credential, self.default.as_ref()))
    }
}

fn identity(device: &str, module: Option<&str>) -> Result<Identity> {
    let bad = |name: &str| {
        let name = name.to_owned();
        |problem: Malformed| Error::BadName { name, problem: problem.0 }
    };
    let identity = Identity::new(device, None).map_err(bad(device))?;
    match module {
        None => Ok(identity),
        Some(module) => Identity::new(device, Some(module)).map_err(bad(module)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::iothub::proto::{Code, HubFailure};

    #[test]
    fn throttling_and_an_offline_device_are_retried() {
        let throttled = |status, code| {
            let error = Error::from(HubError::Hub {
                hub: "hub".into(),
                identity: identity("dev", None).unwrap(),
                failure: Box::new(HubFailure { status, code, ..HubFailure::default() }),
                skew: None,
            });
            error.retry().map(|retry| retry.is_throttled)
        };
        assert_eq!(throttled(429, Some(Code::THROTTLED)), Some(true));
        assert_eq!(throttled(404, Some(Code::DEVICE_NOT_ONLINE)), Some(false));
        assert_eq!(throttled(503, None), Some(false));
        assert_eq!(throttled(401, None), None);
    }

    #[test]
    fn errors_name_the_invalid_id() {
        let named = |device, module| match identity(device, module) {
            Err(Error::BadName { name, .. }) => Some(name),
            _ => None,
        };
        assert_eq!(named("a b", Some("m n")).as_deref(), Some("a b"));
        assert_eq!(named("dev", Some("m n")).as_deref(), Some("m n"));
        assert_eq!(identity("dev", Some("m")).unwrap().client_id(), "dev/m");
    }
}
