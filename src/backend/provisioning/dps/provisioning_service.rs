//! The credential of a device that a Device Provisioning Service assigns to a hub.

use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::client::{Client, is_passing};
use super::id_template::{HOST_NAME, IdTemplate};
use super::proof::Proof;
use super::proto::{Assigned, RegistrationId};
use super::repetition::is_due;
use crate::backend::Pending;
use crate::backend::address;
use crate::backend::iothub::listener::{CredentialSource, DeviceCredential, Doubt};
use crate::backend::iothub::proto::{HubAddress, Identity};
use crate::backend::listener::at_least_asked;
use crate::backend::malformed::Malformed;
use crate::backend::settings::ProvisioningSettings;
use crate::error::{Error, Exposure, Problem, Result};
use crate::net::{Endpoint, Network};
use crate::state::assignment::{Assignment, Binding, keep, known};
use crate::time::clock::{UnixSeconds, iso8601, unix_seconds};

/// The endpoint of every service in the public cloud \[D].
const GLOBAL: &str = "global.azure-devices-provisioning.net";

/// The shortest pause after a service that decided nothing.
const PAUSE: Duration = Duration::from_secs(30);

/// Registers a device, and remembers the hub that it is assigned to.
#[derive(Debug)]
pub(crate) struct ProvisioningService {
    client: Client,
    /// The registration id in the configuration.
    template: IdTemplate,
    /// The source of the proof, for messages.
    source: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The registration id, which stays what it was when it was first read.
    id: Option<RegistrationId>,
    current: Option<Current>,
    /// How the last credential was found, for a check.
    origin: String,
    has_warned: bool,
    /// When to ask a service again that decided nothing.
    paused_until: Option<Instant>,
}

/// The assignment in use.
#[derive(Clone, Debug)]
struct Current {
    hub: HubAddress,
    identity: Identity,
    kept: Assignment,
}

impl ProvisioningService {
    /// Reads the device's certificate, if it has one. Tolerated exposures of the certificate's key are added to `warnings`.
    ///
    /// # Errors
    /// Returns an error if a setting is invalid. The error does not contain the key.
    pub(crate) fn new(settings: &ProvisioningSettings, warnings: &mut Vec<Exposure>) -> Result<Self> {
        let wrong = |key: &str, problem: Problem, hint: &str| {
            Error::credential(format!("{key} in [provisioning]"), problem, hint)
        };
        let scope = settings.id_scope.clone();
        if scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let problem = format!("{scope:?} is no id scope").into();
            return Err(wrong(
                "id-scope",
                problem,
                "the overview of the provisioning service shows it: 0ne…",
            ));
        }
        let endpoint = settings.endpoint.as_deref().unwrap_or(GLOBAL);
        let (host, port) = address::parse(endpoint, "endpoint").map_err(|problem| {
            wrong("endpoint", Problem::of(problem), "write endpoint = \"HOST\" or \"HOST:PORT\"")
        })?;
        let (proof, source) = Proof::read(&settings.attestation, warnings)?;
        let unusable = |problem: Malformed| {
            wrong(
                "registration-id",
                Problem::of(problem),
                "correct it: the enrolment in the service names it",
            )
        };
        let template = match (&settings.registration_id, proof.certificate()) {
            (Some(text), _) => IdTemplate::parse(text).map_err(unusable)?,
            (None, None) => IdTemplate::parse(HOST_NAME).map_err(unusable)?,
            (None, Some(certificate)) => {
                let name = certificate.common_name().unwrap_or_default();
                IdTemplate::parse(name).map_err(|problem| {
                    let problem = format!("its common name {name:?} is no registration id: {problem}");
                    Error::credential(
                        &source,
                        problem,
                        "use a certificate whose common name is the registration id",
                    )
                })?
            }
        };
        let client = Client { service: Endpoint::new(host, port.unwrap_or(443)), scope, proof };
        let service = Self { client, template, source, state: Mutex::default() };
        if service.template.is_fixed() {
            service.registration_id()?;
        }
        Ok(service)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registration id, and the assignment if there is one. Reads the stored one the first time.
    fn current(&self) -> Result<(RegistrationId, Option<Current>)> {
        let mut state = self.state();
        if let Some(id) = &state.id {
            return Ok((id.clone(), state.current.clone()));
        }
        let id = self.registration_id()?;
        let stored = known(&self.binding(&id)).and_then(|kept| kept.map(Current::of).transpose());
        let current = stored.unwrap_or_else(|problem| {
            log::warn!("{problem}");
            None
        });
        (state.id, state.current) = (Some(id.clone()), current.clone());
        Ok((id, current))
    }

    fn registration_id(&self) -> Result<RegistrationId> {
        let wrong = |problem: Problem, hint: &str| {
            Err(Error::credential("registration-id in [provisioning]", problem, hint))
        };
        let id = match self.template.expand() {
            Ok(id) => id,
            Err(problem) => {
                return wrong(problem, "set registration-id, without a placeholder or with another one");
            }
        };
        match self.client.proof.certificate() {
            Some(certificate)
                if !certificate.common_name().unwrap_or_default().eq_ignore_ascii_case(id.as_str()) =>
            {
                let name = certificate.common_name().unwrap_or_default();
                let problem = format!("it is '{id}', and the common name of the certificate is {name:?}");
                wrong(problem.into(), "remove registration-id: the common name is the registration id")
            }
            _ => Ok(id),
        }
    }

    fn binding(&self, id: &RegistrationId) -> Binding {
        Binding {
            service: self.client.service.to_string(),
            id_scope: self.client.scope.clone(),
            registration_id: id.as_str().to_ascii_lowercase(),
        }
    }

    async fn credential(&self, network: &Network, doubt: Doubt) -> Result<DeviceCredential> {
        let (id, current) = self.current()?;
        let now = unix_seconds(SystemTime::now());
        let Some(old) = current else {
            let assigned = self.client.register(network, &id).await?;
            log::info!("{id} is assigned to {} as {}", assigned.hub, assigned.identity);
            return Ok(self.use_new(&id, assigned, now.0, 0));
        };
        let is_paused = self.state().paused_until.is_some_and(|until| Instant::now() < until);
        if is_paused || !is_due(&old.kept, doubt, now) {
            self.state().origin = format!("cached since {}", old.since());
            return Ok(self.device_credential(&old));
        }
        // A restart must not forget it.
        let repeated = old.kept.repeated.saturating_add(u32::from(doubt == Doubt::Refused));
        let kept = Assignment { registered: now.0, repeated, ..old.kept.clone() };
        self.store(&id, Current { kept, ..old.clone() });
        log::info!("registering {id} again at {}", self.client.service);
        match self.client.register(network, &id).await {
            Ok(assigned) => {
                if (&assigned.hub, &assigned.identity) != (&old.hub, &old.identity) {
                    log::warn!(
                        "assigned to {}, was {}",
                        shown(&assigned.hub, &assigned.identity),
                        old.shown()
                    );
                }
                Ok(self.use_new(&id, assigned, now.0, repeated))
            }
            Err(error) => {
                log::warn!("{error}; the agent keeps its assignment to {}", old.shown());
                if is_passing(&error) {
                    // Nothing was decided, so this was no registration.
                    self.store(&id, old.clone());
                    let pause = at_least_asked(PAUSE, &error);
                    self.state().paused_until = Some(Instant::now() + pause);
                }
                if let Some(hint) = error.hint() {
                    log::info!("hint: {hint}");
                }
                self.state().origin =
                    format!("cached since {}; registering again failed: {error}", old.since());
                Ok(self.device_credential(&old))
            }
        }
    }

    /// Stores a new assignment, and returns its credential.
    fn use_new(
        &self,
        id: &RegistrationId,
        assigned: Assigned,
        registered: u64,
        repeated: u32,
    ) -> DeviceCredential {
        let Assigned { hub, identity, .. } = assigned;
        let kept = Assignment {
            hub: hub.to_string(),
            device_id: identity.device().to_owned(),
            assigned: unix_seconds(SystemTime::now()).0,
            registered,
            repeated,
        };
        let new = Current { hub, identity, kept };
        let credential = self.device_credential(&new);
        self.store(id, new);
        self.state().origin = "registered now".into();
        credential
    }

    fn store(&self, id: &RegistrationId, current: Current) {
        let stored = keep(&self.binding(id), &current.kept);
        let mut state = self.state();
        state.current = Some(current);
        if let Err(problem) = stored
            && !std::mem::replace(&mut state.has_warned, true)
        {
            log::warn!("the assignment is not stored, so the agent registers at each start: {problem}");
        }
    }

    fn device_credential(&self, current: &Current) -> DeviceCredential {
        DeviceCredential {
            hub: current.hub.clone(),
            gateway: None,
            identity: current.identity.clone(),
            authentication: self.client.proof.authentication(),
            source: self.source.clone(),
        }
    }
}

impl Current {
    /// A stored assignment.
    ///
    /// # Errors
    /// Returns what is wrong with a damaged one.
    fn of(kept: Assignment) -> std::result::Result<Self, String> {
        let damaged = |problem: Malformed| format!("the stored assignment is not used: {problem}");
        let hub = HubAddress::parse(&kept.hub).map_err(damaged)?;
        let identity = Identity::new(&kept.device_id, None).map_err(damaged)?;
        Ok(Self { hub, identity, kept })
    }

    fn since(&self) -> String {
        iso8601(UnixSeconds(self.kept.assigned).time().unwrap_or(UNIX_EPOCH))
    }

    fn shown(&self) -> String {
        shown(&self.hub, &self.identity)
    }
}

fn shown(hub: &HubAddress, identity: &Identity) -> String {
    format!("{hub} as {identity}")
}

impl CredentialSource for ProvisioningService {
    fn known(&self) -> Option<DeviceCredential> {
        let (_, current) = self.current().ok()?;
        current.map(|current| self.device_credential(&current))
    }

    fn describe(&self) -> String {
        format!("the Device Provisioning Service at {}", self.client.service.authority())
    }

    fn step(&self) -> Option<&'static str> {
        Some("provisioning")
    }

    fn obtain<'a>(&'a self, network: &'a Network, doubt: Doubt) -> Pending<'a, Result<DeviceCredential>> {
        Box::pin(self.credential(network, doubt))
    }

    fn found(&self, credential: &DeviceCredential) -> String {
        let origin = self.state().origin.clone();
        format!("assigned {} at {} ({origin})", credential.identity.client_id(), credential.hub)
    }

    fn accepted(&self) {
        let Ok((id, Some(mut current))) = self.current() else { return };
        if current.kept.repeated > 0 {
            current.kept.repeated = 0;
            self.store(&id, current);
        }
    }

    fn is_same(&self, other: &dyn CredentialSource) -> bool {
        let other: &dyn Any = other;
        other
            .downcast_ref::<Self>()
            .is_some_and(|other| self.client == other.client && self.template == other.template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::settings::Attestation;
    use crate::secret::Secret;

    fn service(endpoint: Option<&str>, scope: &str, id: &str, key: &str) -> ProvisioningService {
        let attestation = Attestation::Key { source: "file k".into(), key: Secret::new(key) };
        let settings = ProvisioningSettings {
            endpoint: endpoint.map(str::to_owned),
            id_scope: scope.into(),
            registration_id: Some(id.into()),
            attestation,
        };
        ProvisioningService::new(&settings, &mut Vec::new()).unwrap()
    }

    #[test]
    fn a_source_is_the_same_with_the_same_registration_and_proof() {
        let first = service(None, "0ne1", "gw-07", "AAAA");
        assert!(first.is_same(&service(Some(GLOBAL), "0ne1", "gw-07", " AAAA\n")));
        for other in [
            service(Some("dps.example"), "0ne1", "gw-07", "AAAA"),
            service(None, "0ne2", "gw-07", "AAAA"),
            service(None, "0ne1", "gw-08", "AAAA"),
            service(None, "0ne1", "{hostname}", "AAAA"),
            service(None, "0ne1", "gw-07", "AAAB"),
        ] {
            assert!(!first.is_same(&other), "{other:?}");
        }
        assert!(!format!("{first:?}").contains("AAAA"));
    }

    #[test]
    fn a_damaged_assignment_is_named() {
        let kept = |hub: &str, device: &str| Assignment {
            hub: hub.into(),
            device_id: device.into(),
            assigned: 0,
            registered: 0,
            repeated: 0,
        };
        assert!(Current::of(kept("contoso.azure-devices.net", "gw-07")).is_ok());
        for (hub, device) in [("https://contoso", "gw-07"), ("contoso.azure-devices.net", "gw 07")] {
            let problem = Current::of(kept(hub, device)).unwrap_err();
            assert!(problem.contains("is not used"), "{problem}");
        }
    }
}
