//! Dialling: DNS → TCP → proxy → TLS → HTTP/1.1 or a WebSocket upgrade. Independent of Azure and stdio.

mod carrier;
mod client_certificate;
mod dial;
mod endpoint;
mod http;
mod pem;
mod private_key;
mod proxy;
mod socks;
mod tls;
mod tls_stream;
mod trust;
mod untrusted;
mod websocket;

pub use client_certificate::{ClientCertificate, Unusable};
pub use dial::{Network, Stream};
pub use endpoint::{Endpoint, WssUrl};
pub use http::{Reply, exchange};
pub use proxy::{FORM as PROXY_FORM, Proxies};
pub use tls::{Tls, read_certificates};
pub use websocket::{Opened, Refusal, Upgrade, WebSocket, open_over};
