//! Dialling: DNS → TCP → proxy → TLS → HTTP/1.1 or a WebSocket upgrade. Independent of Azure and stdio.

mod carrier;
mod client_certificate;
mod dial;
mod endpoint;
#[cfg(fuzzing)]
pub mod fuzzing;
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
mod x509;

pub(crate) use client_certificate::{ClientCertificate, Unusable};
pub(crate) use dial::{Network, Stream};
pub(crate) use endpoint::{Endpoint, WssUrl, request_target};
pub(crate) use http::{Reply, exchange};
pub(crate) use proxy::{FORM as PROXY_FORM, Proxies};
pub(crate) use tls::{Tls, read_certificates};
#[cfg(feature = "emulator")]
pub(crate) use tls_stream::{ServerStream, accept, carrier, peer_certificates};
pub(crate) use websocket::{Opened, Refusal, Upgrade, WebSocket, open_over};
pub(crate) use x509::{Validity, facts};
