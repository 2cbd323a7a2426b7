//! The module that a profile names for all of its devices. A device without it is asked itself, and remembered.

use std::sync::{Mutex, PoisonError};

use crate::backend::iothub::error::Error as HubError;
use crate::backend::iothub::phase::{GATEWAY, HUB};
use crate::backend::iothub::proto::{Code, Identity};
use crate::error::Error;
use crate::state::without_module::Absent;

/// The default module of a device.
#[derive(Debug)]
pub(super) struct DefaultModule {
    /// The hub's key in the state directory.
    hub: String,
    module: Identity,
    device: Identity,
    /// The identity that was asked last, or is to be asked first.
    asked: Mutex<Identity>,
}

impl DefaultModule {
    /// The default `module` of `device` at the hub with this key.
    pub(super) fn new(hub: String, module: Identity, device: Identity) -> Self {
        let asked = Mutex::new(module.clone());
        let new = Self { hub, module, device, asked };
        new.ask(new.order().0);
        new
    }

    pub(super) fn device(&self) -> &Identity {
        &self.device
    }

    /// The identities in the order in which to ask them.
    pub(super) fn order(&self) -> (&Identity, &Identity) {
        if self.absent().is_known() { (&self.device, &self.module) } else { (&self.module, &self.device) }
    }

    /// Notes that `identity` is being asked.
    pub(super) fn ask(&self, identity: &Identity) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone_from(identity);
    }

    /// The identity that was asked last, or is to be asked first.
    pub(super) fn asked(&self) -> Identity {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the other identity is worth a request after `error` of this one. Forgets what such an error puts in doubt.
    pub(super) fn may_be_other(&self, asked: &Identity, error: &Error) -> bool {
        if *asked == self.module {
            return is_without_module(error);
        }
        let is_in_doubt = match error.fault() {
            Some(HubError::Hub { failure, .. }) => {
                failure.status == 504
                    || failure.is_device_failure() && failure.code != Some(Code::DEVICE_DISABLED)
            }
            Some(HubError::Rejected { .. }) => true,
            _ => false,
        };
        if is_in_doubt || matches!(error, Error::Timeout { phase: HUB, .. }) {
            self.forget();
        }
        is_in_doubt
    }

    /// Remembers that the device has no such module, if the stream of the device itself was opened, or if the `error` of
    /// opening it shows that the device has an agent.
    pub(super) fn note(&self, error: Option<&Error>) {
        let has_agent = error.is_none_or(|error| {
            error.phase() == Some(GATEWAY) || matches!(error.fault(), Some(HubError::Rejected { .. }))
        });
        if has_agent {
            self.absent().keep();
        }
    }

    /// Forgets that the device has no such module.
    pub(super) fn forget(&self) {
        self.absent().forget();
    }

    fn absent(&self) -> Absent<'_> {
        Absent {
            service: &self.hub,
            device: self.device.device(),
            module: self.module.module().unwrap_or_default(),
        }
    }
}

/// Whether the hub says that there is no such module.
pub(super) fn is_without_module(error: &Error) -> bool {
    matches!(error.fault(), Some(HubError::Hub { failure, .. }) if failure.code == Some(Code::MODULE_NOT_FOUND))
}
