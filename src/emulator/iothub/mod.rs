//! An IoT Hub: the REST API, device twins, MQTT, and the streaming gateway.
//!
//! It speaks to clients of device streams what the service speaks, as far as that is known. Facts of the service carry
//! the marks of [`crate::backend::iothub::proto`]; where the service's behaviour is not known, a comment says that ours
//! is a choice. There are no quotas unless they are asked for: throttling would slow tests.

mod address;
mod authentication;
mod authorization;
mod files;
mod gateway;
mod hub;
mod hub_connections;
mod initiate;
mod join;
mod login;
mod mqtt;
mod policies;
mod query;
mod quota;
mod random_id;
mod registry;
mod rest;
mod routes;
mod twin;

pub(super) use address::{Address, check_hostname};
pub(super) use authentication::Authentication;
pub(super) use hub::Hub;
pub(crate) use quota::Quota;
