//! Services that give a device its identity: the Device Provisioning Service, the IoT Identity Service, and the workload
//! API of IoT Edge.

mod daemon;
pub(crate) mod dps;
mod identity_service;
mod workload_api;

pub(crate) use dps::{PROVISIONING, ProvisioningService, derive_key};
pub(crate) use identity_service::IdentityService;
#[cfg(fuzzing)]
pub use identity_service::fuzzing as identity_service_answers;
pub(crate) use workload_api::{WorkloadApi, is_module};
