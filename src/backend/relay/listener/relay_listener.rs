//! The listener of Azure Relay.

use std::time::Duration;

use uuid::Uuid;

use super::credential::ListenCredential;
use crate::backend::relay::proto::listener_id;
use crate::backend::settings::RelaySettings;
use crate::config::{Preamble, WatchedFiles};
use crate::error::Result;

/// The life of a signed token \[D]\[J]\[N].
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The longest life of a signed token, which any clock can represent.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The silence before a Ping. Networks cut a connection that is idle for four minutes.
const KEEPALIVE: Duration = Duration::from_secs(30);
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(200);
const SECOND: Duration = Duration::from_secs(1);

/// Listens for offers to one device at one hybrid connection.
#[derive(Clone, Debug)]
pub(crate) struct RelayListener {
    pub(super) credential: ListenCredential,
    /// The files of the credential.
    pub(super) files: WatchedFiles,
    pub(super) device: String,
    pub(super) is_shared: bool,
    pub(super) rendezvous_hosts: Vec<String>,
    pub(super) preamble: Option<Preamble>,
    pub(super) keepalive: Duration,
    pub(super) token_life: Duration,
}

impl RelayListener {
    /// The listener of a device.
    ///
    /// # Errors
    /// Returns an error if the credential is invalid. The error does not contain it.
    pub(crate) fn new(settings: &RelaySettings) -> Result<Self> {
        let RelaySettings { access, source, entity, device, .. } = settings;
        let credential = ListenCredential::new(source, access, entity.as_deref())?;
        Ok(Self {
            device: device.clone().unwrap_or_else(|| credential.entity.last().to_owned()),
            credential,
            files: settings.files.clone(),
            is_shared: settings.is_shared,
            rendezvous_hosts: settings.rendezvous_hosts.clone(),
            preamble: settings.preamble,
            keepalive: settings.keepalive.unwrap_or(KEEPALIVE).clamp(SECOND, LONGEST_KEEPALIVE),
            token_life: settings.token_life.unwrap_or(TOKEN_LIFE).clamp(SECOND, LONGEST_LIFE),
        })
    }

    /// The id under which it listens, which stays the same over restarts.
    pub(super) fn id(&self) -> Uuid {
        listener_id(&self.credential.namespace, &self.credential.entity, &self.device)
    }
}
