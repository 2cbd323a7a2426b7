//! The protocol of Azure Relay's hybrid connections as pure functions, without sockets, clock or environment. Marks in
//! comments name the source of a fact: \[P] the documented protocol, \[D] Microsoft's .NET client and its tests, \[C] the
//! same, run, \[N] \[J] the Node and Java clients, \[B] azbridge, \[T] captured from clients, \[A] aztunnel, measured on
//! the service, \[Z] the Azure CLI, \[~] inferred.

mod connection_string;
mod control;
mod entity;
mod hybrid_connections;
mod listener_id;
mod namespace;
pub(crate) mod preamble;
mod refusal;
mod rendezvous;
mod request;
mod sas;

pub(crate) use crate::backend::malformed::Malformed;
pub(crate) use crate::text::percent::encode;
pub(crate) use crate::time::clock::UnixSeconds;
pub(crate) use connection_string::{ConnectionString, Key, is_relay};
pub(crate) use control::{Accept, Control, HttpRequest, not_implemented, renew_token};
pub(crate) use entity::{Entity, Template};
pub(crate) use hybrid_connections::{Page, list_path};
pub(crate) use listener_id::listener_id;
pub(crate) use namespace::{Namespace, SUFFIX};
pub(crate) use refusal::{Cause, OTHER_DEVICE, REJECTION, is_usual};
pub(crate) use rendezvous::{rejection, rendezvous};
pub(crate) use request::{Action, header, path};
pub(crate) use sas::{SasToken, resource};
