//! Dialling: DNS → TCP → TLS → HTTP/1.1 or a WebSocket upgrade. Knows neither Azure nor stdin and stdout.

mod dial;
mod endpoint;
mod http;
mod tls;
mod websocket;

pub use dial::{Network, Stream};
pub use endpoint::{Endpoint, WssUrl};
pub use http::{Reply, exchange};
pub use tls::{Tls, read_certificates};
pub use websocket::{Upgrade, WebSocket};
