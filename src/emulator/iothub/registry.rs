//! The identity registry: the devices and modules that are registered, and the keys of the policies.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::address::Address;
use super::authentication::Authentication;
use super::files::{Files, policy_string};
use super::policies::{POLICIES, Permission, allows};
use super::twin::Twin;
use crate::backend::iothub::proto::{HubAddress, Identity};
use crate::emulator::profiles::{Profile, quoted};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// One registered device or module.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) authentication: Authentication,
    /// Not kept over a restart, like the fields below it: a connection string has no field for them.
    pub(super) enabled: bool,
    /// Other members of its description, as a service has written them.
    pub(super) details: Map<String, Value>,
    /// Distinguishes it from an earlier one of the same id.
    pub(super) generation: u64,
    /// Grows with every change, and makes the etag.
    revision: u64,
    pub(super) last_activity: Option<SystemTime>,
    /// Kept in a file of its own.
    pub(super) twin: Twin,
}

impl Registration {
    fn new(authentication: Authentication, twin: Twin, now: SystemTime) -> Self {
        let now = milliseconds(now);
        Self {
            authentication,
            enabled: true,
            details: Map::new(),
            generation: now,
            revision: now,
            last_activity: None,
            twin,
        }
    }

    /// The etag of the identity, which is not its twin's.
    pub(super) fn etag(&self) -> String {
        data_encoding::BASE64.encode(&self.revision.to_be_bytes())
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The registry. It writes changes to its files.
#[derive(Debug)]
pub(super) struct Registry {
    files: Files,
    hub: HubAddress,
    policies: HashMap<&'static str, Secret>,
    identities: Mutex<BTreeMap<Identity, Registration>>,
}

impl Registry {
    /// Reads what `files` has, and writes it again with the hub's address as it is now.
    ///
    /// # Errors
    /// A file is invalid, or cannot be read or written.
    pub(super) fn open(files: Files, address: &Address, now: SystemTime) -> Result<Self> {
        let hub = address.public.clone();
        let mut policies = HashMap::new();
        for name in POLICIES {
            policies.insert(name, files.policy_key(name, &hub)?);
        }
        let mut identities = BTreeMap::new();
        for (identity, authentication) in files.identities()? {
            files.write_identity(&identity, &authentication, &hub)?;
            let twin = files.twin(&identity)?.unwrap_or_else(|| Twin::new(now));
            identities.insert(identity, Registration::new(authentication, twin, now));
        }
        Ok(Self { files, hub, policies, identities: Mutex::new(identities) })
    }

    /// The profile for users on this machine, to whom the hub is `nearby`. `rate` is how many streams a second it allows.
    pub(super) fn profile(&self, nearby: &HubAddress, rate: Option<u32>) -> Profile {
        let string = policy_string(nearby, "service", &self.policies["service"]);
        let rate = rate.map_or_else(String::new, |rate| format!("streams-per-second = {rate}\n"));
        let string = quoted(string.expose());
        let keys = format!("connection-string = {string}\nhosts = [\"*.emulator\"]\n{rate}");
        Profile { name: "emulator", keys: Secret::new(keys) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, Registration>> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an identity, and the device of a module; one that is registered keeps its key.
    ///
    /// # Errors
    /// A connection string cannot carry the id, or a file cannot be written.
    pub(super) fn register(&self, identity: &Identity, now: SystemTime) -> Result<()> {
        if identity.client_id().contains(';') {
            return Err(Error::BadName {
                name: identity.client_id(),
                problem: "a connection string cannot carry the ';'".into(),
            });
        }
        let mut identities = self.lock();
        let device = Identity::new(identity.device(), None).map_err(anyhow::Error::new)?;
        for identity in [&device, identity] {
            if !identities.contains_key(identity) {
                let authentication = Authentication::with_new_keys()?;
                self.files.write_identity(identity, &authentication, &self.hub)?;
                let registration = Registration::new(authentication, Twin::new(now), now);
                identities.insert(identity.clone(), registration);
            }
        }
        Ok(())
    }

    /// Registers an identity with this authentication, which replaces an earlier one.
    ///
    /// # Errors
    /// A connection string cannot carry the id, or a file cannot be written.
    pub(super) fn register_with(
        &self,
        identity: &Identity,
        authentication: Authentication,
        now: SystemTime,
    ) -> Result<()> {
        self.register(identity, now)?;
        self.files.write_identity(identity, &authentication, &self.hub)?;
        if let Some(registration) = self.lock().get_mut(identity) {
            registration.authentication = authentication;
        }
        Ok(())
    }

    /// Changes a twin and writes it to its file.
    ///
    /// # Errors
    /// What `change` finds wrong, or why the file cannot be written; the twin is then unchanged.
    pub(super) fn change_twin<T>(
        &self,
        identity: &Identity,
        change: impl FnOnce(&mut Twin) -> std::result::Result<T, String>,
    ) -> std::result::Result<T, String> {
        let mut identities = self.lock();
        let registration = identities.get_mut(identity).ok_or("it is not registered")?;
        let mut twin = registration.twin.clone();
        let changed = change(&mut twin)?;
        self.files.write_twin(identity, &twin).map_err(|error| error.to_string())?;
        registration.twin = twin;
        Ok(changed)
    }

    /// How many devices there are, and how many of them are enabled.
    pub(super) fn count(&self) -> (usize, usize) {
        let identities = self.lock();
        let devices = identities.iter().filter(|(identity, _)| identity.module().is_none());
        devices.fold((0, 0), |(all, enabled), (_, device)| (all + 1, enabled + usize::from(device.enabled)))
    }

    /// Removes a device and its modules, or a module, and gives back their identities.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub(super) fn remove(&self, identity: &Identity) -> Result<Vec<Identity>> {
        let mut identities = self.lock();
        let goes = |other: &&Identity| {
            *other == identity || (identity.module().is_none() && other.device() == identity.device())
        };
        let gone: Vec<_> = identities.keys().filter(goes).cloned().collect();
        for identity in &gone {
            self.files.remove_identity(identity)?;
            identities.remove(identity);
        }
        Ok(gone)
    }

    /// Changes what a registration does not keep in files.
    pub(super) fn change(
        &self,
        identity: &Identity,
        now: SystemTime,
        change: impl FnOnce(&mut Registration),
    ) {
        if let Some(registration) = self.lock().get_mut(identity) {
            change(registration);
            registration.revision = milliseconds(now).max(registration.revision + 1);
        }
    }

    /// Notes when an identity was last active.
    pub(super) fn touch(&self, identity: &Identity, now: SystemTime) {
        if let Some(registration) = self.lock().get_mut(identity) {
            registration.last_activity = Some(now);
        }
    }

    /// The registration of an identity, as it is now.
    pub(super) fn get(&self, identity: &Identity) -> Option<Registration> {
        self.lock().get(identity).cloned()
    }

    /// What `pick` makes of the identities after `last` in their order, `limit` at most.
    pub(super) fn find<T>(
        &self,
        last: Option<&Identity>,
        limit: usize,
        pick: impl Fn(&Identity, &Registration) -> Option<T>,
    ) -> Vec<(Identity, T)> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.lock()
            .range((start, Bound::Unbounded))
            .filter_map(|(identity, registration)| Some((identity.clone(), pick(identity, registration)?)))
            .take(limit)
            .collect()
    }

    /// The key of a policy, if it exists and allows one of `permissions`.
    pub(super) fn policy_key(&self, name: &str, permissions: &[Permission]) -> Option<&Secret> {
        self.policies.get(name).filter(|_| allows(name, permissions))
    }
}
