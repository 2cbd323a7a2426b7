//! Registers a device, over HTTPS.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Builder;
use tokio::time::{Instant, sleep, timeout};

use super::error::{Error as DpsError, Registration};
use super::phase::PROVISIONING;
use super::proof::Proof;
use super::proto::{
    Answer, Assigned, Failure, RegistrationId, is_tpm_challenge, operation_path, register_body, register_path,
};
use crate::backend::malformed::Malformed;
use crate::backend::request::{authorized, bug};
use crate::backend::skew::Skew;
use crate::error::{Error, Result, escape};
use crate::net::{Endpoint, Network, Reply, exchange};
use crate::time::backoff::{chance, retry_after};
use crate::time::phase::Phases;

/// The time limit of a request, as in Microsoft's SDKs \[S].
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// The time limit of a decision.
const DECISION_LIMIT: Duration = Duration::from_secs(5 * 60);
/// The wait between two polls without `Retry-After`, as in Microsoft's SDKs \[S].
const WAIT: Duration = Duration::from_secs(2);
/// The limits of a `Retry-After`: the service allows five polls in ten seconds \[D], and must not silence a device.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The part of a wait that is random, so that a fleet does not poll all at once.
const JITTER: f64 = 0.25;
/// The longest answer in bytes: the payload that a custom allocation may add has 96 KB at most \[D].
const LONGEST: usize = 256 * 1024;

/// A client of a Device Provisioning Service, for one device.
#[derive(Debug, PartialEq)]
pub(super) struct Client {
    pub(super) service: Endpoint,
    pub(super) scope: String,
    pub(super) proof: Proof,
}

impl Client {
    /// Registers the device as `id`, and waits for the decision. Registering again gives the same assignment, unless the
    /// enrolment has changed \[D].
    ///
    /// Cancel-safe: dropping the future drops a request.
    ///
    /// # Errors
    /// Returns an error if the service cannot be reached, refuses the device, or assigns no usable hub. Only polls are tried
    /// again.
    pub(super) async fn register(&self, network: &Network, id: &RegistrationId) -> Result<Assigned> {
        let network = match self.proof.certificate() {
            Some(certificate) => network.with_certificate(certificate),
            None => network.clone(),
        };
        let since = Instant::now();
        let body = register_body(id).into();
        let request = hyper::Request::put(register_path(&self.scope, id))
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        let (mut answer, mut asked) = self.ask(&network, id, request, body).await?;
        let mut operation = None;
        loop {
            let registration = self.registration(id);
            let status = match answer {
                Answer::Assigned(assigned) => return self.usable(id, assigned),
                Answer::Failed(explanation) => {
                    return Err(DpsError::Failed { registration, explanation }.into());
                }
                Answer::Disabled => return Err(DpsError::Disabled(registration).into()),
                Answer::Unassigned => return Err(DpsError::Unassigned(registration).into()),
                Answer::Unknown(status) => {
                    return Err(DpsError::UnknownStatus { registration, status }.into());
                }
                Answer::Pending { operation: named, status } => {
                    operation = named.or(operation);
                    status
                }
            };
            let Some(operation) = &operation else {
                let problem = Malformed::new("its answer has no operationId");
                return Err(DpsError::Malformed { registration, problem }.into());
            };
            let wait = asked.unwrap_or(WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            let wait = wait + wait.mul_f64(JITTER * f64::from(chance()) / f64::from(u32::MAX));
            if since.elapsed() + wait > DECISION_LIMIT {
                return Err(DpsError::Pending { registration, status, after: DECISION_LIMIT }.into());
            }
            log::info!("{id} is '{}'; asking again in {:.1} s", escape(&status), wait.as_secs_f64());
            sleep(wait).await;
            let request = hyper::Request::get(operation_path(&self.scope, id, operation));
            (answer, asked) = match self.ask(&network, id, request, Bytes::new()).await {
                // The operation goes on, and another registration would be one more of the service's load.
                Err(error) if is_passing(&error) => {
                    log::info!("{error}");
                    (Answer::Pending { operation: None, status }, error.retry_after())
                }
                next => next?,
            };
        }
    }

    /// Sends a request over a connection of its own. Returns the answer and its `Retry-After`.
    async fn ask(
        &self,
        network: &Network,
        id: &RegistrationId,
        request: Builder,
        body: Bytes,
    ) -> Result<(Answer, Option<Duration>)> {
        let token = self.proof.authorization(&self.scope, id)?;
        let request = authorized(request, &self.service, token.as_ref())?;
        let request = request.body(Full::new(body)).map_err(bug)?;
        let stream = network.connect(&self.service, &mut Phases::default()).await?;
        let answer = exchange(stream, PROVISIONING, &self.service, request, LONGEST);
        let timed_out = |_| Error::timeout(PROVISIONING, &self.service, REQUEST_LIMIT);
        let reply = match timeout(REQUEST_LIMIT, answer).await.map_err(timed_out)? {
            Err(Error::Protocol { problem, .. }) => {
                let problem = Malformed::new(problem.to_string());
                return Err(DpsError::Malformed { registration: self.registration(id), problem }.into());
            }
            reply => reply?,
        };
        if !(200..300).contains(&reply.status) {
            return Err(self.refused(id, &reply));
        }
        let answer = Answer::parse(reply.status, &reply.body)
            .map_err(|problem| DpsError::Malformed { registration: self.registration(id), problem })?;
        Ok((answer, retry_after(&reply.headers)))
    }

    fn refused(&self, id: &RegistrationId, reply: &Reply) -> Error {
        let registration = self.registration(id);
        if reply.status == 401 && is_tpm_challenge(&reply.body) {
            return DpsError::Tpm(registration).into();
        }
        // A certificate is not refused for this machine's clock.
        let date = reply.date().filter(|_| reply.status == 401 && !registration.has_certificate);
        let skew = date.and_then(|date| Skew::between(SystemTime::now(), date));
        let failure = Box::new(Failure::of(reply.status, &reply.headers, &reply.body));
        DpsError::Refused { registration, failure, skew }.into()
    }

    /// The assignment, if device streams can be used there.
    fn usable(&self, id: &RegistrationId, assigned: Assigned) -> Result<Assigned> {
        let Some(profile) = assigned.profile else { return Ok(assigned) };
        let (registration, hub) = (self.registration(id), assigned.hub.to_string());
        Err(DpsError::WrongProfile { registration, hub, profile }.into())
    }

    fn registration(&self, id: &RegistrationId) -> Registration {
        Registration {
            service: self.service.authority(),
            scope: self.scope.clone(),
            id: id.to_string(),
            has_certificate: self.proof.certificate().is_some(),
        }
    }
}

/// Whether the service has decided nothing, and may do so later.
pub(super) fn is_passing(error: &Error) -> bool {
    match error.fault() {
        Some(DpsError::Refused { failure, .. }) => matches!(failure.status, 408 | 429 | 500..=599),
        Some(DpsError::Pending { .. }) => true,
        _ => matches!(error, Error::Network { .. } | Error::Timeout { .. }),
    }
}
