//! The protocol of IoT Hub's device streams as pure functions, without sockets, clock or environment. Marks in comments
//! name the source of a fact: \[S] SDK source, \[D] official documentation, \[I] an issue or trace by a user or staff,
//! \[M] captured from Microsoft's clients, \[~] inferred.

mod connection_string;
mod failure;
mod host_name;
mod initiate;
mod login;
mod names;
mod offer;
mod pasted;
mod registry;
mod report;
mod reported;
mod sas;
mod twin_request;

pub(crate) use crate::backend::malformed::Malformed;
pub(crate) use crate::text::percent::encode;
pub(crate) use crate::time::clock::UnixSeconds;
pub(crate) use connection_string::{ConnectionString, Key};
pub(crate) use failure::{Code, ERROR_CODE, HubFailure};
pub(crate) use host_name::{Clients, HostName};
pub(crate) use initiate::{Answer, DEFAULT_API_VERSION, Initiate, headers};
pub(crate) use login::{Login, Refusal, WEBSOCKET_PATH, WEBSOCKET_SUBPROTOCOL};
pub(crate) use names::{HubAddress, Identity};
pub(crate) use offer::{BadOffer, Decision, Offer, SUBSCRIPTIONS, parse_decision};
pub(crate) use registry::{
    ALL_DEVICES, CONTINUATION, Connection, MAX_ITEM_COUNT, connection, devices_page, registry_path,
    reports_of, reports_page, twin, twin_path,
};
#[cfg(test)]
pub(crate) use report::merged;
pub(crate) use report::{Change, host_keys};
pub(crate) use reported::of_twin;
pub(crate) use sas::{Resource, SasToken};
pub(crate) use twin_request::{TWIN_ANSWERS, TwinAnswer, TwinRequest};
