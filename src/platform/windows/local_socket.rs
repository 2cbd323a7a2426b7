//! Sockets that a service on this machine listens on under a path. Nothing here connects to one.

use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::io::DuplexStream;

/// Fails.
///
/// # Errors
/// Always.
pub(crate) async fn connect(_: &Path) -> io::Result<DuplexStream> {
    Err(io::Error::new(ErrorKind::Unsupported, "Unix sockets are not supported on Windows"))
}

/// The two directions of a connection.
pub(crate) fn split(
    stream: DuplexStream,
) -> (tokio::io::ReadHalf<DuplexStream>, tokio::io::WriteHalf<DuplexStream>) {
    tokio::io::split(stream)
}
