//! The IoT Identity Service: a daemon that has the identities of this machine's modules, and one that has their keys.
//!
//! A module of its own is made by the daemon itself, for each user that has a principal in its configuration \[D].

mod answer;
#[cfg(fuzzing)]
pub mod fuzzing;

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;

use self::answer::{Answer, NAME, Spec};
use super::daemon::{Daemon, DaemonError, Kind, SIGNING_LIMIT};
use crate::backend::Pending;
use crate::backend::iothub::listener::{Authentication, CredentialSource, DeviceCredential, Doubt, Signer};
use crate::error::{Error, Problem, Result};
use crate::net::Network;
use crate::secret::Secret;

/// The directory of the sockets \[S].
const SOCKETS: &str = "/run/aziot";

/// The version of both interfaces that every release serves \[S].
const IDENTITY: &str = "/identities/identity?api-version=2020-09-01";
const SIGN: &str = "/sign?api-version=2020-09-01";

/// The time limit of a request for the identity. The daemon asks the hub first, for 70 s and more, before it answers from
/// its own cache \[S]. An identity that is known need not wait for that.
const FIRST_LIMIT: Duration = Duration::from_secs(180);
const LATER_LIMIT: Duration = Duration::from_secs(30);

/// Takes the identity from the daemon, which signs tokens.
#[derive(Debug)]
pub(crate) struct IdentityService {
    identityd: Daemon,
    keyd: Daemon,
    known: Mutex<Option<DeviceCredential>>,
}

impl IdentityService {
    /// With the daemons' sockets in the directory `sockets`.
    pub(crate) fn new(sockets: Option<&Path>) -> Self {
        let sockets = sockets.unwrap_or(Path::new(SOCKETS));
        Self {
            identityd: Daemon::new(Kind::Identityd, sockets.join("identityd.sock")),
            keyd: Daemon::new(Kind::Keyd, sockets.join("keyd.sock")),
            known: Mutex::default(),
        }
    }

    async fn ask(&self, limit: Duration) -> Result<DeviceCredential> {
        let spec = match self.identityd.ask(hyper::Request::get(IDENTITY), Bytes::new(), limit).await? {
            Answer::Aziot(spec) => spec,
            Answer::Local(_) => {
                return Err(Error::credential(
                    NAME,
                    "the identity of this user is local, and has no hub",
                    "set idtype = [\"module\"] in the user's principal, and restart the service",
                ));
            }
        };
        let (hub, identity) =
            spec.names().map_err(|problem| self.identityd.malformed(Problem::of(problem)))?;
        let key_handle = spec.key_handle(&identity)?;
        let credential = DeviceCredential {
            hub,
            gateway: None,
            identity,
            authentication: Authentication::Signer(Arc::new(Keyd { daemon: self.keyd.clone(), key_handle })),
            source: NAME.into(),
        };
        self.remember(&spec, &credential);
        Ok(credential)
    }

    /// Remembers a credential. Another identity than before is logged, with what is wrong with it.
    fn remember(&self, spec: &Spec, new: &DeviceCredential) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known =
            known.as_ref().is_some_and(|old| (&old.hub, &old.identity) == (&new.hub, &new.identity));
        *known = Some(new.clone());
        if is_known {
            return;
        }
        log::info!("{NAME} has {} at {}", new.identity, new.hub);
        if new.identity.module().is_none() {
            log::warn!(
                "{NAME} gives the identity of the device itself, which the device's own application may use too: \
                 give the agent a principal with idtype = [\"module\"]"
            );
        }
        if !spec.gateway_host.eq_ignore_ascii_case(&spec.hub_name) {
            log::warn!(
                "{NAME} names the gateway {}, which has no device streams: connecting to {} directly",
                spec.gateway_host,
                new.hub
            );
        }
    }
}

impl CredentialSource for IdentityService {
    fn known(&self) -> Option<DeviceCredential> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn describe(&self) -> String {
        NAME.into()
    }

    fn step(&self) -> Option<&'static str> {
        Some("identity-service")
    }

    /// Asks before each login, because the hub and the key may have changed. While the daemon is away, the last answer
    /// holds, unless the hub has refused it.
    fn obtain<'a>(&'a self, _: &'a Network, doubt: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(async move {
            let known = self.known().filter(|_| doubt != Doubt::Refused);
            let limit = if known.is_some() { LATER_LIMIT } else { FIRST_LIMIT };
            match (self.ask(limit).await, known) {
                (Err(error), Some(known)) if error.fault().is_some_and(DaemonError::is_temporary) => {
                    log::warn!("{error}; using the last identity: {} at {}", known.identity, known.hub);
                    Ok(known)
                }
                (asked, _) => asked,
            }
        })
    }

    fn is_same(&self, other: &dyn CredentialSource) -> bool {
        let other = (other as &dyn Any).downcast_ref::<Self>();
        other.is_some_and(|other| self.identityd == other.identityd)
    }
}

/// A key in the daemon for keys. Who knows its handle may use it.
#[derive(Debug)]
struct Keyd {
    daemon: Daemon,
    key_handle: Secret,
}

#[derive(Deserialize)]
struct Signature {
    signature: String,
}

impl Signer for Keyd {
    fn sign(&self, message: Vec<u8>) -> Pending<'_, Result<Vec<u8>>> {
        Box::pin(async move {
            let body = json!({
                "keyHandle": self.key_handle.expose(),
                "algorithm": "HMAC-SHA256",
                "parameters": { "message": BASE64.encode(&message) },
            });
            let request = hyper::Request::post(SIGN);
            let answer: Signature = self.daemon.ask(request, body.to_string().into(), SIGNING_LIMIT).await?;
            self.daemon.signature(&answer.signature)
        })
    }
}
