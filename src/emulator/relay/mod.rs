//! A Relay namespace: hybrid connections, their listeners, and the gateway where these meet senders.
//!
//! It speaks to clients of hybrid connections what the service speaks, as far as that is known. Facts of the service
//! carry the marks of [`crate::backend::relay::proto`]; what is not known can be set either way, in `faults.rs`.

mod address;
mod authorization;
mod connect;
mod control_channel;
mod faults;
mod files;
mod gateway;
mod http_requests;
mod hybrid_connection;
mod listen;
mod listeners;
mod messages;
mod namespace;
mod refusal;
mod rendezvous;
mod request;
mod resource_manager;
mod routes;
mod rules;
mod tracking;

pub(super) use faults::{Faults, KNOWN_FAULTS};
pub(super) use gateway::Gateway;
pub(super) use namespace::{Names, Namespace, Ports};
pub(super) use resource_manager::ResourceManager;
