//! MQTT 3.1.1 over any byte stream: TLS or a WebSocket.
//!
//! It knows no service. The user name of a CONNECT says which [`Service`] a client logs in to.

mod client;
mod serve;
mod service;
mod websocket;

pub(super) use serve::Mqtt;
pub(super) use service::{Connect, LoggedIn, Message, NextMessage, Refusal, Service};
pub(super) use websocket::WebSocket;
