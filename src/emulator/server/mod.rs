//! The emulator's server: TLS on its ports, and HTTP/1.1 with what it can be upgraded to.
//!
//! It knows no service. Each [`Service`] says which paths it serves and answers their requests.

mod body;
mod connection;
mod head;
mod http;
mod linger;
mod port;
mod service;

pub(super) use body::whole;
pub(super) use http::Http;
pub(super) use linger::Linger;
pub(super) use port::serve;
pub(super) use service::{Answer, Answering, Client, Reply, Service, empty};
