//! Sockets that a service on this machine listens on under a path.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;

/// Connects to the service at `path`.
///
/// # Errors
/// When no service listens there.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}
