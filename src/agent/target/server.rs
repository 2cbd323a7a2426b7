//! A server on the device, or within its reach, that a target connects to.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream};

use super::connection::{Connection, Writer};
use crate::platform::{AutoTuned, local_socket, tcp};

/// What stands for the port of the stream.
const PORT: &str = "{port}";

/// What the kernel may hold of a local service's output, in bytes: all of it delays the echo of the next keystroke, and
/// by default the kernel holds megabytes.
pub(super) const RECEIVE_BUFFER: u16 = 32 * 1024;

/// The same for a fast service.
const LARGE_RECEIVE_BUFFER: usize = 256 * 1024;

/// A server, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// `host:port`, where `{port}` may stand for the port of the stream.
    Tcp(String),
    /// The path of a Unix socket, with the same.
    Unix(PathBuf),
}

impl Server {
    /// Parses `host:port`, or a path that begins with a slash.
    ///
    /// # Errors
    /// Returns the problem.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let is_port = |port: &str| port == PORT || port.parse().is_ok_and(|port: u16| port != 0);
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !host.contains(PORT) && is_port(port) => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err(format!("'{text}' is neither host:port nor the path of a Unix socket")),
        }
    }

    /// Whether the port of the stream is a part of it.
    pub(super) fn has_port_of_stream(&self) -> bool {
        self.to_string().contains(PORT)
    }

    /// The server for a stream of this port.
    pub(super) fn for_port(&self, port: u16) -> Self {
        let text = self.to_string().replace(PORT, &port.to_string());
        match self {
            Self::Tcp(_) => Self::Tcp(text),
            Self::Unix(_) => Self::Unix(text.into()),
        }
    }

    /// Connects to the server.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let address = self.to_string();
        match self {
            Self::Tcp(_) => {
                let stream = connect(&address).await?;
                stream.set_nodelay(true)?;
                // A connection to an unused ephemeral port may connect to itself.
                if stream.peer_addr()? == stream.local_addr()? {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                let (read, write) = stream.into_split();
                let write = Writer::Tcp { half: write, has_ended: false };
                Ok(Connection::new(address, Box::new(AutoTuned::new(read, grow)), write))
            }
            Self::Unix(path) => {
                let (read, write) = local_socket::split(local_socket::connect(path).await?);
                Ok(Connection::new(address, Box::new(read), Writer::Other(Box::new(write))))
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|problem| serde::de::Error::custom(format!("connect: {problem}")))
    }
}

/// Connects to the first address that answers.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if address.ip().is_loopback() {
            tcp::limit_received(&socket, RECEIVE_BUFFER.into());
        }
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Enlarges the receive buffer of a local service.
fn grow(read: &OwnedReadHalf) {
    if read.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        tcp::set_receive_buffer(read.as_ref(), LARGE_RECEIVE_BUFFER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_a_path() {
        for text in ["127.0.0.1:22", "[::1]:22", "plc.local:{port}", "[::1]:{port}"] {
            assert_eq!(Server::parse(text), Ok(Server::Tcp(text.into())));
        }
        for text in ["/run/x.sock", "/run/{port}.sock"] {
            assert_eq!(Server::parse(text), Ok(Server::Unix(text.into())));
        }
        for text in [
            "",
            "host",
            ":22",
            "host:",
            "host:0",
            "host:99999",
            "x.sock",
            "host:{PORT}",
            "h:1{port}",
            "{port}:1",
        ] {
            assert!(Server::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_port_of_the_stream_is_filled_in() {
        for (text, filled) in [
            ("[::1]:{port}", "[::1]:80"),
            ("/run/{port}/{port}.sock", "/run/80/80.sock"),
            ("plc:502", "plc:502"),
        ] {
            let server = Server::parse(text).unwrap();
            assert_eq!(server.for_port(80), Server::parse(filled).unwrap());
            assert_eq!(server.has_port_of_stream(), text != filled);
        }
    }
}
