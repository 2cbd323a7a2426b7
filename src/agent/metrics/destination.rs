//! Where the agent's figures are read.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;

use crate::platform::local_socket::{self, LocalListener};
use crate::platform::private_file::{Access, replacement};

/// The figures tell nothing that other users of the device may not know.
pub(super) const SOCKET_MODE: u32 = 0o666;

/// The value of the key `metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// HTTP on a loopback address.
    Tcp(SocketAddr),
    /// HTTP on a Unix socket.
    Socket(PathBuf),
    /// A file for node_exporter.
    File(PathBuf),
}

impl Destination {
    /// Parses `127.0.0.1:9100`, `/path.sock` or `/path.prom`.
    ///
    /// # Errors
    /// Returns the problem.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.ip().is_loopback() {
                Ok(Self::Tcp(address))
            } else {
                Err(format!("{address} is reachable from other machines: write 127.0.0.1 or [::1]"))
            };
        }
        let path = Path::new(text);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("prom") if path.is_absolute() => Ok(Self::File(path.to_owned())),
            Some("sock") if path.is_absolute() && local_socket::ARE_SUPPORTED => {
                Ok(Self::Socket(path.to_owned()))
            }
            Some("sock") if path.is_absolute() => Err("Unix sockets are not supported on Windows".into()),
            _ => Err(format!(
                "'{text}' is neither a loopback address with its port nor an absolute path that ends with .sock or .prom"
            )),
        }
    }
}

impl Destination {
    /// Opens it as the agent would, and closes it again.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(in crate::agent) async fn probe(&self) -> io::Result<()> {
        match self {
            Self::Tcp(address) => TcpListener::bind(address).await.map(drop),
            Self::Socket(path) => LocalListener::claim(path, SOCKET_MODE).await.map(drop),
            Self::File(path) => replacement(path, Access::Everyone).map(drop),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket(path) | Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_reads_the_figures() {
        for text in ["127.0.0.1:9100", "[::1]:9100", "/run/x/metrics.sock", "/var/lib/x/iotstream.prom"] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["0.0.0.0:9100", "[::]:9100", "192.0.2.1:9100", "localhost:9100", "9100", "x.prom", "/run/x", ""]
        {
            Destination::parse(text).unwrap_err();
        }
    }
}
