//! The service's state, and what it answers to a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use hyper::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::attestation::Attested;
use super::bounded::Bounded;
use super::enrolments::{Enrolments, Options};
use super::faults::Assigning;
use super::problem::Problem;
use super::registration::{End, Registration, new_etag};
use super::request::{Action, Answer, Request, check_body};
use crate::backend::iothub::proto::Identity;
use crate::backend::provisioning::dps::proto::RegistrationId;
use crate::emulator::directory::Directory;
use crate::emulator::faults::Faults;
use crate::emulator::iothub::Hub;
use crate::error::Result;

/// How many registrations and how many operations are kept.
const MOST: usize = 4096;

/// The Device Provisioning Service.
#[derive(Debug)]
pub(in crate::emulator) struct Provisioning {
    pub(super) enrolments: Enrolments,
    pub(super) hub: Arc<Hub>,
    pub(super) faults: Arc<Faults>,
    registrations: Mutex<Registrations>,
}

#[derive(Debug)]
struct Registrations {
    by_id: Bounded<RegistrationId, Registration>,
    /// The registration of each operation.
    operations: Bounded<String, RegistrationId>,
}

impl Provisioning {
    /// Opens the service that assigns devices to `hub`, and writes everything that clients need into `directory`.
    ///
    /// # Errors
    /// An option is invalid, or a file is invalid, or cannot be read or written.
    pub(in crate::emulator) fn open(
        directory: Directory,
        options: Options,
        hub: Arc<Hub>,
        faults: Arc<Faults>,
    ) -> Result<Self> {
        let enrolments = Enrolments::open(directory, options)?;
        let registrations = Registrations { by_id: Bounded::new(MOST), operations: Bounded::new(MOST) };
        Ok(Self { enrolments, hub, faults, registrations: Mutex::new(registrations) })
    }

    fn lock(&self) -> MutexGuard<'_, Registrations> {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request, and logs it in one line.
    ///
    /// # Errors
    /// The error to answer with.
    pub(super) fn respond(&self, request: &Request<'_>) -> std::result::Result<Answer, Problem> {
        let answer = self.decide(request);
        let (id, action) = (request.id, request.action.name());
        match &answer {
            Ok(answer) => log::info!("dps: {id}: {action}: {} {}", answer.status.as_u16(), answer.summary),
            Err(problem) => {
                log::info!("dps: {id}: {action}: {} {}", problem.status.as_u16(), problem.message);
            }
        }
        answer
    }

    fn decide(&self, request: &Request<'_>) -> std::result::Result<Answer, Problem> {
        let Request { id, proof, action } = request;
        let faults = &self.faults.provisioning;
        if let Some(status) = faults.status.take() {
            return Err(Problem::of_status(status, "The emulator was asked for this.", faults.retry_after));
        }
        match action {
            Action::Register(body) => check_body(body, id, false)?,
            Action::LookUp(body) => check_body(body, id, true)?,
            Action::Poll(_) => {}
        }
        let now = self.faults.clock.now();
        let attested = self.enrolments.attest(id, *proof, now).map_err(Problem::unauthorized)?;
        match action {
            Action::Register(_) => self.register(id, attested, now),
            Action::Poll(operation) => self.poll(id, operation),
            Action::LookUp(_) => self.look_up(id),
        }
    }

    /// Registers a device, also one that is registered: the hub may have removed it.
    fn register(
        &self,
        id: &RegistrationId,
        attested: Attested,
        now: SystemTime,
    ) -> std::result::Result<Answer, Problem> {
        let faults = &self.faults.provisioning;
        let end = if let Some(code) = faults.failed.take() {
            End::Failed(code)
        } else if let Some(other) = faults.not_assigned.take() {
            End::Other(other)
        } else {
            End::Assigned(faults.hub.take().unwrap_or_else(|| self.hub.name()))
        };
        let polls = match faults.assigning.take() {
            None => Some(0),
            Some(Assigning::Polls(polls)) => Some(polls),
            Some(Assigning::None) => None,
        };
        let before = self.lock().by_id.get(id).cloned();
        let (id, created) = before.as_ref().map_or((id, now), |before| (&before.id, before.created));
        let device = match attested.device {
            Some(device) => device,
            None => Identity::new(id.as_str(), None).map_err(|problem| Problem::bad_request(problem.0))?,
        };
        if matches!(end, End::Assigned(_)) {
            self.hub.assign(&device, attested.authentication).map_err(|error| {
                Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), 0)
            })?;
        }
        let registration = Registration {
            id: id.clone(),
            device,
            end,
            polls,
            attestation: attested.member,
            profile: faults.mode.clone(),
            created,
            updated: now,
            etag: new_etag(),
        };
        let operation = self.new_operation(id);
        let answer = match polls {
            None => self.final_answer(StatusCode::ACCEPTED, &operation, &registration),
            Some(_) => self.assigning(&operation, None),
        };
        let mut registrations = self.lock();
        registrations.operations.insert(operation, id.clone());
        registrations.by_id.insert(id.clone(), registration);
        Ok(answer)
    }

    fn poll(&self, id: &RegistrationId, operation: &str) -> std::result::Result<Answer, Problem> {
        let mut registrations = self.lock();
        let Registrations { by_id, operations } = &mut *registrations;
        let known = operations.get(&operation.to_owned()).filter(|of| *of == id);
        let Some(registration) = known.and_then(|id| by_id.get_mut(id)) else {
            return Err(Problem::not_found("There is no such operation."));
        };
        match &mut registration.polls {
            Some(polls @ 1..) => {
                *polls -= 1;
                let state = registration.assigning();
                Ok(self.assigning(operation, Some(state)))
            }
            _ => Ok(self.final_answer(StatusCode::OK, operation, registration)),
        }
    }

    fn look_up(&self, id: &RegistrationId) -> std::result::Result<Answer, Problem> {
        let registrations = self.lock();
        let registration = registrations.by_id.get(id);
        let registration = registration.ok_or_else(|| Problem::not_found("It is not registered."))?;
        let (body, summary) = match registration.polls {
            Some(1..) => (registration.assigning(), "assigning".to_owned()),
            _ => (registration.state(), registration.summary()),
        };
        Ok(Answer { status: StatusCode::OK, retry_after: None, body, summary })
    }

    /// Tells the device to ask again. The answer to a registration has no state \[D].
    fn assigning(&self, operation: &str, state: Option<Value>) -> Answer {
        let mut body = json!({ "operationId": operation, "status": "assigning" });
        if let Some(state) = state {
            body["registrationState"] = state;
        }
        let retry_after = Some(self.faults.provisioning.retry_after);
        Answer { status: StatusCode::ACCEPTED, retry_after, body, summary: "assigning".into() }
    }

    fn final_answer(&self, status: StatusCode, operation: &str, registration: &Registration) -> Answer {
        let body = json!({
            "operationId": operation,
            "status": registration.end.status(),
            "registrationState": registration.state(),
        });
        let retry_after = (status == StatusCode::ACCEPTED).then_some(self.faults.provisioning.retry_after);
        Answer { status, retry_after, body, summary: registration.summary() }
    }

    /// An id of the form that the service's have: `5.316aac5bdc130deb.b1e02da8-…` \[D].
    fn new_operation(&self, id: &RegistrationId) -> String {
        let registration = format!("{}/{id}", self.enrolments.scope).to_ascii_lowercase();
        let hash = HEXLOWER.encode(&Sha256::digest(registration)[..8]);
        format!("5.{hash}.{}", Uuid::new_v4())
    }
}
