//! A request for a stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use uuid::Uuid;

use super::credential::Credential;
use crate::backend::relay::error::Refused;
use crate::backend::relay::headers::authorize;
use crate::backend::relay::phase::RELAY;
use crate::backend::relay::proto::{Action, Entity, header, path};
use crate::error::{Error, Result};
use crate::net::{Refusal, Upgrade, WssUrl};

/// A stream to ask a namespace for.
#[derive(Debug)]
pub(crate) struct Request {
    /// The credential, which names the namespace.
    pub credential: Arc<Credential>,
    /// The hybrid connection.
    pub entity: Entity,
    /// The device, for messages.
    pub device: String,
    /// The stream's name.
    pub stream: String,
    /// The last part of the path.
    pub suffix: Option<String>,
    /// Further headers.
    pub headers: HeaderMap,
    /// The id of the listener that is asked for first, where devices share the hybrid connection.
    pub listener: Option<Uuid>,
    /// The port to name in azbridge's preamble, if the listener expects one.
    pub port: Option<String>,
    /// How long dialling and retrying may take.
    pub connect_timeout: Duration,
    /// How long the listener may take to answer.
    pub response_timeout: Duration,
}

impl Request {
    /// The URL of a try of the start `id`.
    pub(super) fn url(&self, id: Uuid) -> WssUrl {
        WssUrl {
            endpoint: self.credential.namespace.server(),
            path: path(&self.entity, self.suffix.as_deref(), Action::Connect, id),
        }
    }

    /// The upgrade of one try, with a new token. Asks for `listener` alone if given. A token command may wait for the user,
    /// so it runs in a separate thread while the caller can still be seen to end.
    pub(super) async fn upgrade(&self, listener: Option<Uuid>) -> Result<Upgrade> {
        let (credential, entity) = (Arc::clone(&self.credential), self.entity.clone());
        let signing = tokio::task::spawn_blocking(move || credential.token(&entity, SystemTime::now()));
        let token = signing.await.map_err(|error| Error::Bug(error.to_string()))??;
        let mut headers = self.headers.clone();
        authorize(&mut headers, &token, || self.credential.describe())?;
        if let Some(listener) = listener {
            let listener =
                HeaderValue::try_from(listener.to_string()).map_err(|error| Error::Bug(error.to_string()))?;
            headers.insert(HeaderName::from_static(header::ALLOWED_LISTENERS), listener);
        }
        Ok(Upgrade { phase: RELAY, headers, limit: self.response_timeout })
    }

    /// The error of a refusal.
    pub(super) fn refused(&self, refusal: &Refusal) -> Error {
        let namespace = &self.credential.namespace;
        Refused::new(namespace, &self.entity, &self.device, &self.stream, refusal).into()
    }
}
