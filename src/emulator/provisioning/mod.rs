//! The Device Provisioning Service (DPS): it assigns devices to the hub, over HTTPS and MQTT.
//!
//! One enrolment group accepts every registration id with a key that is derived from the group's; with `--dps-ca`, another
//! accepts certificates that lead to a known authority. Individual enrolments take precedence. Registrations are
//! kept in memory. Facts of the service carry the marks of [`crate::backend::provisioning::dps::proto`].

mod attestation;
mod bounded;
mod certificates;
mod enrolments;
mod faults;
mod files;
mod http;
mod mqtt;
mod problem;
mod registration;
mod request;
mod service;

pub(crate) use enrolments::Options;
pub(super) use faults::{Faults, KNOWN_FAULTS};
pub(super) use service::Provisioning;
