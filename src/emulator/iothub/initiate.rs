//! Initiating a stream: the offer to the device, its answer, and what the service's side is told.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::gateway::{Side, path};
use super::hub::Hub;
use super::hub_connections::OfferError;
use crate::backend::iothub::proto::{Code, Decision, HubFailure, Identity, Offer};
use crate::secret::Secret;

/// How long the hub waits for an answer where the request does not say \[~]: the default of the clients \[S].
const RESPONSE: Duration = Duration::from_secs(60);
/// The longest wait for the connection and for the answer, as for direct methods \[~].
const LONGEST: Duration = Duration::from_secs(300);

/// A user's request for a stream.
#[derive(Debug)]
pub(super) struct StreamRequest {
    pub(super) identity: Identity,
    pub(super) stream: String,
    /// How long to wait until the device is online.
    pub(super) connect_timeout: Duration,
    /// How long to wait for the device's answer.
    pub(super) response_timeout: Option<Duration>,
    /// Where the user reached the hub, and is to reach the gateway.
    pub(super) authority: String,
}

/// The device's answer.
#[derive(Debug)]
pub(super) enum Outcome {
    Accepted { url: String, token: Secret },
    Rejected,
}

/// Why the device did not answer, and how long the hub waited.
#[derive(Debug)]
pub(super) struct InitiateError {
    pub(super) failure: HubFailure,
    pub(super) waited: Option<Duration>,
}

impl InitiateError {
    fn new(code: Code, message: &str, waited: Option<Duration>) -> Self {
        let status = u16::try_from(code.0 / 1000).unwrap_or(500);
        let failure = HubFailure {
            status,
            code: Some(code),
            message: Some(message.to_owned()),
            ..HubFailure::default()
        };
        Self { failure, waited }
    }
}

impl Hub {
    /// Asks a device for a stream. Cancel-safe: dropping the future forgets the offer.
    ///
    /// # Errors
    /// The device cannot be asked, or does not answer.
    pub(super) async fn initiate(&self, request: StreamRequest) -> Result<Outcome, InitiateError> {
        let StreamRequest { identity, stream, .. } = &request;
        self.check_registered(identity)?;
        if let Some(quota) = self.quota.as_ref().filter(|quota| !quota.admits()) {
            let message = format!("The hub lets in {} new streams a second.", quota.rate);
            log::info!("{identity}: the stream '{stream}' is throttled");
            return Err(InitiateError::new(Code::THROTTLED, &message, None));
        }
        let connect_timeout = request.connect_timeout.min(LONGEST);
        let connect_by = Instant::now() + connect_timeout;
        let response_timeout = request.response_timeout.unwrap_or(RESPONSE).min(LONGEST);
        let failed = |_| InitiateError::new(Code(500_001), "The hub has no randomness.", None);

        let cut = self.faults.cut.take();
        let (pending, mut offer) = loop {
            let pending = self.streams.open(&self.stream_settings(cut)).map_err(failed)?;
            if let Some(quota) = self.quota.as_ref().filter(|quota| self.streams.count() > quota.at_once) {
                let message = format!("The hub lets in {} streams at a time.", quota.at_once);
                return Err(InitiateError::new(Code::THROTTLED, &message, None));
            }
            let token =
                self.streams.token(&pending.id, Side::Device, self.faults.clock.now()).map_err(failed)?;
            let make = |request_id, authority: &str| Offer {
                request_id,
                stream: stream.clone(),
                url: self.gateway_url(authority, identity, &pending.id, Side::Device),
                token,
            };
            match self.connections.offer(identity, make) {
                Ok(offer) => break (pending, offer),
                Err(OfferError::Busy) => {
                    return Err(InitiateError::new(Code(503_102), "Device unavailable", None));
                }
                // Whether the service waits for a device that is online but not subscribed is not known: we wait.
                Err(OfferError::NotReady) => {
                    if timeout_at(connect_by, self.connections.ready(identity)).await.is_err() {
                        let message = "Timed out waiting for device to connect.";
                        return Err(InitiateError::new(
                            Code::DEVICE_NOT_ONLINE,
                            message,
                            Some(connect_timeout),
                        ));
                    }
                }
            }
        };
        log::info!("{identity} is asked for the stream '{stream}'");
        match timeout_at(Instant::now() + response_timeout, offer.answer()).await {
            Ok(Some(Decision::Accept)) => {
                let token = self
                    .streams
                    .token(&pending.id, Side::Service, self.faults.clock.now())
                    .map_err(failed)?;
                let url = self.gateway_url(&request.authority, identity, &pending.id, Side::Service);
                pending.accept();
                Ok(Outcome::Accepted { url, token })
            }
            Ok(Some(Decision::Reject)) => Ok(Outcome::Rejected),
            Ok(None) => Err(InitiateError::new(Code::DEVICE_CLOSED, "Device unavailable", None)),
            Err(_) => {
                let message = "Timed out waiting for the response from device.";
                Err(InitiateError::new(Code::GATEWAY_TIMEOUT, message, Some(response_timeout)))
            }
        }
    }

    fn check_registered(&self, identity: &Identity) -> Result<(), InitiateError> {
        let unknown =
            |code, kind, id| Err(InitiateError::new(code, &format!("E2E {kind} {id} not registered"), None));
        let device = Identity::new(identity.device(), None).ok();
        let Some(device) = device.and_then(|device| self.registry.get(&device)) else {
            return unknown(Code::DEVICE_NOT_FOUND, "Device", identity.device());
        };
        let enabled = match identity.module() {
            None => device.enabled,
            Some(module) => match self.registry.get(identity) {
                None => return unknown(Code::MODULE_NOT_FOUND, "Module", module),
                Some(module) => device.enabled && module.enabled,
            },
        };
        if !enabled {
            return Err(InitiateError::new(Code::DEVICE_DISABLED, "The device is disabled.", None));
        }
        Ok(())
    }

    /// One side's URL, at the authority under which that side knows the hub.
    fn gateway_url(&self, authority: &str, identity: &Identity, id: &str, side: Side) -> String {
        let is_plain = self.faults.plain_url.take().is_some()
            || (side == Side::Service && self.faults.plain_service_url.take().is_some());
        let scheme = if is_plain { "ws" } else { "wss" };
        format!("{scheme}://{authority}{}", path(&self.address.public.name, identity, id, side))
    }
}
