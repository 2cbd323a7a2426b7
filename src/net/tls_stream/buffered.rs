//! TLS through rustls' buffered interface, as tokio-rustls drives it.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// A client's TLS connection over `S`.
pub(crate) type TlsStream<S> = tokio_rustls::client::TlsStream<S>;

/// Makes the handshake.
///
/// # Errors
/// Returns the connection's error. An error of rustls is its inner error.
pub(crate) async fn connect<S>(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    io: S,
) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    TlsConnector::from(config).connect(name, io).await
}

/// The connection under TLS.
pub(crate) fn carrier<S>(stream: &TlsStream<S>) -> &S {
    stream.get_ref().0
}
