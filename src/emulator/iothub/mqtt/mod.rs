//! MQTT 3.1.1 as the hub speaks it, over any byte stream: TLS or a WebSocket.

mod client;
mod serve;
mod twin;
mod websocket;

pub(in crate::emulator) use serve::serve_tls;
