//! Sockets under a path, for services on this machine. Nothing here connects to one or listens on one.

use std::io::{self, ErrorKind};
use std::path::Path;

pub(crate) use tokio::io::DuplexStream as LocalStream;

/// Whether the system has such sockets.
pub(crate) const ARE_SUPPORTED: bool = false;

fn unsupported() -> io::Error {
    io::Error::new(ErrorKind::Unsupported, "Unix sockets are not supported on Windows")
}

/// Fails.
///
/// # Errors
/// Always.
pub(crate) async fn connect(_: &Path) -> io::Result<LocalStream> {
    Err(unsupported())
}

/// The two directions of a connection.
pub(crate) fn split(
    stream: LocalStream,
) -> (tokio::io::ReadHalf<LocalStream>, tokio::io::WriteHalf<LocalStream>) {
    tokio::io::split(stream)
}

/// Fails.
///
/// # Errors
/// Always.
pub(crate) fn peer(_: &LocalStream) -> io::Result<u32> {
    Err(unsupported())
}

/// A listening socket, which there is none of.
#[derive(Debug)]
pub(crate) enum LocalListener {}

impl LocalListener {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub(crate) async fn claim(_: &Path, _: u32) -> io::Result<Self> {
        Err(unsupported())
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn accept(&self) -> io::Result<LocalStream> {
        match *self {}
    }
}
